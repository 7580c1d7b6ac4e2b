package replay

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// Timeline is a session in the form for playback: its output and events with their times relative
// to the start. Records are added in the order of their sequence; records that were added before
// are ignored. It is not safe for concurrent use.
type Timeline struct {
	// IdleLimit is the maximum length of a pause; 0 keeps the original pauses. It must not be
	// changed after the first call of Add.
	IdleLimit time.Duration

	moments []Moment
	clock   int64 // time of the latest frame, in nanoseconds since 1970; 0 before the first
	at      time.Duration
	last    uint64 // sequence of the latest record
	plain   bool   // the session had no terminal
	ended   bool
}

// Moment is an event at one time of a session.
type Moment struct {
	At    time.Duration // since the start; never decreases
	Event schema.Event
	// Bytes are the output, for [schema.EventOutput]; see [Timeline.Show]. They must not be
	// modified.
	Bytes  []byte
	Stream schema.Stream
	// Width and Height are the new size of the terminal, for [schema.EventStart] and
	// [schema.EventResize]; 0 if there is none.
	Width, Height int
	// Notice is the message for [schema.EventGap], [schema.EventTransfer] and [schema.EventEnd]:
	// the missing bytes, the transferred file, or the reason for the end.
	Notice string
}

// NewTimeline returns the timeline of a session.
func NewTimeline(s *Session, idleLimit time.Duration) *Timeline {
	t := &Timeline{IdleLimit: idleLimit, plain: !s.Operation.Interactive}
	for r := range s.Transcript() {
		t.Add(r)
	}
	return t
}

// Moments returns all moments so far. The slice must not be modified.
func (t *Timeline) Moments() []Moment { return t.moments }

// Duration returns the time of the last moment.
func (t *Timeline) Duration() time.Duration { return t.at }

// Show returns a moment's output for a terminal: its bytes, with carriage returns before newlines
// if the session had no terminal.
func (t *Timeline) Show(m *Moment) []byte {
	if !t.plain {
		return m.Bytes
	}
	return bytes.ReplaceAll(m.Bytes, []byte("\n"), []byte("\r\n"))
}

// Ended reports whether the timeline contains the session's end.
func (t *Timeline) Ended() bool { return t.ended }

// Add adds the moments of a record.
func (t *Timeline) Add(r *Record) {
	if r.Sequence <= t.last || r.IsDrainGap() {
		return
	}
	if missing := r.Sequence - t.last - 1; missing > 0 {
		t.pass(r.Time)
		t.add(Moment{Event: schema.EventGap, Notice: missingRecords(t.last+1, r.Sequence-1)})
	}
	t.last = r.Sequence
	for f := range r.Frames() {
		t.pass(f.Time)
		t.addFrame(&f)
	}
}

// missingRecords returns the notice for a run of missing records.
func missingRecords(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("record %d is missing here", first)
	}
	return fmt.Sprintf("records %d to %d are missing here", first, last)
}

// withoutControls returns a text without control characters.
func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}

// pass advances the time to that of a frame. Frames without a time keep the current one.
func (t *Timeline) pass(clock int64) {
	if clock <= t.clock {
		return
	}
	if t.clock > 0 {
		passed := time.Duration(clock - t.clock)
		if t.IdleLimit > 0 {
			passed = min(passed, t.IdleLimit)
		}
		t.at += passed
	}
	t.clock = clock
}

func (t *Timeline) addFrame(f *Frame) {
	m := Moment{Event: f.Event, Bytes: f.Bytes, Stream: f.Stream}
	detail := f.Record.Detail
	if detail == nil {
		detail = new(schema.Detail)
	}
	switch f.Event {
	case schema.EventStart, schema.EventResize:
		m.Width, m.Height = detail.Width, detail.Height
	case schema.EventGap:
		m.Notice = "bytes are missing here"
		if detail.Bytes != nil {
			m.Notice = fmt.Sprintf("%d bytes are missing here", *detail.Bytes)
		}
		if detail.Reason != "" {
			m.Notice += ": " + withoutControls(detail.Reason)
		}
	case schema.EventTransfer:
		m.Notice = withoutControls(string(f.Record.Text))
	case schema.EventEnd:
		m.Notice = withoutControls(string(f.Record.Text))
		t.ended = true
	}
	t.add(m)
}

func (t *Timeline) add(m Moment) {
	m.At = t.at
	t.moments = append(t.moments, m)
}
