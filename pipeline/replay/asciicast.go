package replay

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// Asciicast encodes a session as asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a header,
// then one event per line. The format allows UTF-8 only, so invalid bytes become U+FFFD; a
// character that is split across two outputs is written with the second. It is not safe for
// concurrent use.
type Asciicast struct {
	op    *schema.Operation
	begin int64     // start of the session, in nanoseconds since 1970 UTC
	last  float64   // time of the last event: times never decrease
	rest  [2][]byte // by stream, an incomplete character at the end of the output
}

// The terminal size for sessions without one.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// NewAsciicast returns an encoder for a session. Times of events are relative to begin, the time of
// the first event.
func NewAsciicast(op *schema.Operation, begin int64) *Asciicast {
	return &Asciicast{op: op, begin: begin}
}

// Size returns the size of the session's terminal at the start.
func (a *Asciicast) Size() (width, height int) {
	if a.op.Width < 1 || a.op.Height < 1 {
		return defaultWidth, defaultHeight
	}
	return a.op.Width, a.op.Height
}

// AppendHeader appends the header line.
func (a *Asciicast) AppendHeader(dst []byte) []byte {
	width, height := a.Size()
	header, err := json.Marshal(struct {
		Version   int    `json:"version"`
		Width     int    `json:"width"`
		Height    int    `json:"height"`
		Timestamp int64  `json:"timestamp"`
		Title     string `json:"title"`
		Command   string `json:"command,omitempty"`
	}{2, width, height, a.begin / int64(time.Second), "Session " + a.op.ID + " of " + a.op.User.Name + " on " + a.op.App, a.op.Command})
	if err != nil {
		panic("asciicast: " + err.Error()) // numbers and strings always marshal
	}
	return append(schema.AppendEscaped(dst, header), '\n')
}

// AppendOutput appends the event line for output at time at. It appends nothing if the output has
// no complete character.
func (a *Asciicast) AppendOutput(dst []byte, at int64, stream schema.Stream, shown []byte) []byte {
	if rest := a.rest[stream]; len(rest) > 0 {
		shown = append(rest, shown...)
		a.rest[stream] = nil
	}
	if n := incompleteSuffix(shown); n > 0 {
		a.rest[stream] = bytes.Clone(shown[len(shown)-n:])
		shown = shown[:len(shown)-n]
	}
	if len(shown) == 0 {
		return dst
	}
	if !a.op.Interactive { // there was no terminal to translate newlines
		shown = bytes.ReplaceAll(bytes.ReplaceAll(shown, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	dst = a.appendTime(dst, at)
	dst = append(dst, `"o",`...)
	dst, _ = schema.AppendString(dst, shown)
	return append(dst, "]\n"...)
}

// AppendResize appends the event line for a new terminal size. It appends nothing if the size is
// invalid.
func (a *Asciicast) AppendResize(dst []byte, at int64, d *schema.Detail) []byte {
	if d == nil || d.Width < 1 || d.Height < 1 {
		return dst
	}
	dst = a.appendTime(dst, at)
	dst = append(dst, `"r","`...)
	dst = strconv.AppendInt(dst, int64(d.Width), 10)
	dst = append(dst, 'x')
	dst = strconv.AppendInt(dst, int64(d.Height), 10)
	return append(dst, "\"]\n"...)
}

// AppendFrame appends the event line for a frame. It appends nothing for events that are not
// displayed.
func (a *Asciicast) AppendFrame(dst []byte, f Frame) []byte {
	switch f.Event {
	case schema.EventOutput:
		return a.AppendOutput(dst, f.Time, f.Stream, f.Bytes)
	case schema.EventResize:
		return a.AppendResize(dst, f.Time, f.Record.Detail)
	}
	return dst
}

// Seconds returns the time of an event relative to the start; it never decreases.
func (a *Asciicast) Seconds(at int64) float64 {
	a.last = max(a.last, float64(at-a.begin)/float64(time.Second))
	return a.last
}

func (a *Asciicast) appendTime(dst []byte, at int64) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendFloat(dst, a.Seconds(at), 'f', 6, 64)
	return append(dst, ',')
}

// incompleteSuffix returns the length of an incomplete character at the end of b.
func incompleteSuffix(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
