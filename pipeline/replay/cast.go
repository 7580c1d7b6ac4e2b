package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// A CastHeader is the first line of an asciicast v2. Fields that are empty are left out.
type CastHeader struct {
	Width, Height int // 80 by 24 where they are 0: the format has to have them
	Started       time.Time
	Duration      time.Duration
	Command       string
	Title         string
}

// A Cast is an asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/) that is being written: a header, and one event a line:
// "o" for output, "r" for another size of the terminal, "m" for a marker. It is for one goroutine.
//
// The format has text and not bytes: what is not UTF-8 becomes U+FFFD. What is a rune in two outputs of one stream is one in the later one.
// The writer gets a line a call.
type Cast struct {
	w    io.Writer
	held [2][]byte // by stream: a rune that is not whole yet
	line []byte    // used again and again
}

// NewCast writes the header.
func NewCast(w io.Writer, h CastHeader) (*Cast, error) {
	header := struct {
		Version   int     `json:"version"`
		Width     int     `json:"width"`
		Height    int     `json:"height"`
		Timestamp int64   `json:"timestamp,omitempty"`
		Duration  float64 `json:"duration,omitempty"`
		Command   string  `json:"command,omitempty"`
		Title     string  `json:"title,omitempty"`
	}{Version: 2, Width: h.Width, Height: h.Height, Duration: h.Duration.Round(time.Microsecond).Seconds(), Command: h.Command, Title: h.Title}
	if h.Width <= 0 || h.Height <= 0 {
		header.Width, header.Height = 80, 24
	}
	if !h.Started.IsZero() {
		header.Timestamp = h.Started.Unix()
	}
	line, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("write the asciicast: %w", err)
	}
	c := &Cast{w: w}
	return c, c.write(append(line, '\n'))
}

// Output tells what was shown.
func (c *Cast) Output(at time.Duration, stream schema.Stream, b []byte) error {
	held := c.held[stream]
	text := append(held, b...)
	whole := wholeRunes(text)
	c.held[stream] = append([]byte(nil), text[whole:]...)
	if whole == 0 {
		return nil
	}
	return c.event(at, 'o', text[:whole])
}

// wholeRunes is how much of a text is not of a rune that goes on.
func wholeRunes(text []byte) int {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return i
			}
			break
		}
	}
	return len(text)
}

// Resize tells that the terminal has another size.
func (c *Cast) Resize(at time.Duration, width, height int) error {
	return c.event(at, 'r', fmt.Appendf(nil, "%dx%d", width, height))
}

// Mark tells something about this moment that was not shown.
func (c *Cast) Mark(at time.Duration, label string) error { return c.event(at, 'm', []byte(label)) }

// Close writes what is left. It closes nothing.
func (c *Cast) Close(at time.Duration) error {
	for stream, held := range c.held {
		if len(held) > 0 {
			c.held[stream] = nil
			if err := c.event(at, 'o', held); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cast) event(at time.Duration, kind byte, data []byte) error {
	c.line = append(c.line[:0], '[')
	c.line = strconv.AppendFloat(c.line, at.Seconds(), 'f', 6, 64)
	c.line = append(c.line, ',', '"', kind, '"', ',')
	c.line, _ = schema.AppendString(c.line, data)
	return c.write(append(c.line, ']', '\n'))
}

func (c *Cast) write(line []byte) error {
	if _, err := c.w.Write(line); err != nil {
		return fmt.Errorf("write the asciicast: %w", err)
	}
	return nil
}

// castTitle tells which session it is. Not every copy has who it was.
func castTitle(op *schema.Operation) string {
	if op.User.Name == "" {
		return fmt.Sprintf("operation %s on %s", op.ID, op.App)
	}
	return fmt.Sprintf("operation %s: %s on %s", op.ID, op.User.Name, op.App)
}

// WriteCast writes a session as an asciicast. Unless exact is set, what is shown goes through a [Filter]: players give it to a terminal as it is.
func WriteCast(w io.Writer, s *Session, idleLimit time.Duration, exact bool) error {
	t := NewTimeline(s, idleLimit)
	op := s.Operation
	c, err := NewCast(w, CastHeader{Width: op.Width, Height: op.Height, Started: s.Started, Duration: t.Duration(), Command: op.Command,
		Title: castTitle(op)})
	if err != nil {
		return err
	}
	var filters [2]Filter
	var shown []byte
	for i := range t.Moments() {
		m := &t.moments[i]
		switch m.Event {
		case schema.EventOutput:
			shown = append(shown[:0], t.Show(m)...)
			if !exact {
				shown = filters[m.Stream].Append(shown[:0], t.Show(m))
			}
			if len(shown) > 0 {
				err = c.Output(m.At, m.Stream, shown)
			}
		case schema.EventResize:
			err = c.Resize(m.At, m.Width, m.Height)
		case schema.EventGap, schema.EventEnd:
			err = c.Mark(m.At, m.Notice)
		}
		if err != nil {
			return err
		}
	}
	return c.Close(t.Duration())
}
