package replay

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// A Timeline is a session as it is played: what was shown when, counted from its start. Records are
// added in the order of their sequence; those that were added before are passed over. It is for one
// goroutine.
type Timeline struct {
	// IdleLimit is how long nothing happens at most; 0 for as long as nothing did. It must not be
	// changed once a record was added.
	IdleLimit time.Duration

	moments []Moment
	clock   int64 // of the latest frame, in nanoseconds since 1970; 0 before one has a time
	at      time.Duration
	last    uint64 // the latest record's sequence
	plain   bool   // the session had no terminal
	ended   bool
}

// A Moment is something that happened in a session.
type Moment struct {
	At    time.Duration // since the start; it never goes back
	Event schema.Event
	// Bytes are what was shown, for [schema.EventOutput]: see [Timeline.Show]. Nobody may change them.
	Bytes  []byte
	Stream schema.Stream
	// Width and Height are the terminal's from here on, for [schema.EventStart] and
	// [schema.EventResize]; 0 where there was none.
	Width, Height int
	// Notice tells, for [schema.EventGap], [schema.EventTransfer] and [schema.EventEnd], what a person
	// has to know: what is missing here, which file was transferred, how the session ended.
	Notice string
}

// NewTimeline is the timeline of a session.
func NewTimeline(s *Session, idleLimit time.Duration) *Timeline {
	t := &Timeline{IdleLimit: idleLimit, plain: !s.Operation.Interactive}
	for r := range s.Transcript() {
		t.Add(r)
	}
	return t
}

// Moments are all that happened so far. They are the timeline's.
func (t *Timeline) Moments() []Moment { return t.moments }

// Duration is how far it goes.
func (t *Timeline) Duration() time.Duration { return t.at }

// Show is what a terminal gets to show a moment: its bytes and, where the session had no terminal,
// the carriage returns that one would have added.
func (t *Timeline) Show(m *Moment) []byte {
	if !t.plain {
		return m.Bytes
	}
	return bytes.ReplaceAll(m.Bytes, []byte("\n"), []byte("\r\n"))
}

// Ended says that the session's end is there.
func (t *Timeline) Ended() bool { return t.ended }

// Add adds what a record tells.
func (t *Timeline) Add(r *Record) {
	if r.Sequence <= t.last || r.ToldGap() {
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

// missingRecords tells that a run of records is not there.
func missingRecords(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("record %d is missing here", first)
	}
	return fmt.Sprintf("records %d to %d are missing here", first, last)
}

// oneLine is a text without control characters.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}

// pass lets time pass up to a frame. What has no time comes at the time of the one before.
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
			m.Notice += ": " + oneLine(detail.Reason)
		}
	case schema.EventTransfer:
		m.Notice = oneLine(string(f.Record.Text))
	case schema.EventEnd:
		m.Notice = oneLine(string(f.Record.Text))
		t.ended = true
	}
	t.add(m)
}

func (t *Timeline) add(m Moment) {
	m.At = t.at
	t.moments = append(t.moments, m)
}
