package replay

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// An Asciicast writes what a session showed in the form of asciicast v2
// (docs.asciinema.org/manual/asciicast/v2): a header, and an event a line. Bytes that are not UTF-8
// become U+FFFD, as the form has no others; a character that two outputs share is in the second of
// them. It is for one goroutine.
type Asciicast struct {
	op    *schema.Operation
	begin int64     // when the session began, in nanoseconds since 1970 UTC
	last  float64   // the time of the last event: they never go back
	rest  [2][]byte // of each stream, the beginning of a character whose end is to come
}

// The size of a terminal where a session has none.
const (
	plainWidth  = 80
	plainHeight = 24
)

// NewAsciicast makes a writer for a session. begin is the time of its first event, from which the
// others count.
func NewAsciicast(op *schema.Operation, begin int64) *Asciicast {
	return &Asciicast{op: op, begin: begin}
}

// Size is that of the session's terminal at its start.
func (a *Asciicast) Size() (width, height int) {
	if a.op.Width < 1 || a.op.Height < 1 {
		return plainWidth, plainHeight
	}
	return a.op.Width, a.op.Height
}

// AppendHeader appends the header, with its line end.
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

// AppendOutput appends the event of bytes that were shown at a time, with its line end; nothing
// where they are no whole character.
func (a *Asciicast) AppendOutput(dst []byte, at int64, stream schema.Stream, shown []byte) []byte {
	if rest := a.rest[stream]; len(rest) > 0 {
		shown = append(rest, shown...)
		a.rest[stream] = nil
	}
	if n := unfinished(shown); n > 0 {
		a.rest[stream] = bytes.Clone(shown[len(shown)-n:])
		shown = shown[:len(shown)-n]
	}
	if len(shown) == 0 {
		return dst
	}
	if !a.op.Interactive { // no terminal has made a line end of it
		shown = bytes.ReplaceAll(bytes.ReplaceAll(shown, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	dst = a.appendTime(dst, at)
	dst = append(dst, `"o",`...)
	dst, _ = schema.AppendString(dst, shown)
	return append(dst, "]\n"...)
}

// AppendResize appends the event of another size, with its line end; nothing where it is none.
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

// AppendFrame appends the event of a frame, with its line end; nothing for one that a terminal does
// not show.
func (a *Asciicast) AppendFrame(dst []byte, f Frame) []byte {
	switch f.Event {
	case schema.EventOutput:
		return a.AppendOutput(dst, f.Time, f.Stream, f.Bytes)
	case schema.EventResize:
		return a.AppendResize(dst, f.Time, f.Record.Detail)
	}
	return dst
}

// Seconds is the time of an event, which is not before the last one.
func (a *Asciicast) Seconds(at int64) float64 {
	a.last = max(a.last, float64(at-a.begin)/float64(time.Second))
	return a.last
}

func (a *Asciicast) appendTime(dst []byte, at int64) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendFloat(dst, a.Seconds(at), 'f', 6, 64)
	return append(dst, ',')
}

// unfinished is how many bytes at the end are the beginning of a character.
func unfinished(b []byte) int {
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
