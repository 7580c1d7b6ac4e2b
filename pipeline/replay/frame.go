package replay

import (
	"bytes"
	"iter"
	"strconv"

	"github.com/ttydrain/ttydrain/schema"
)

// Frame is an event of a session at one time.
type Frame struct {
	Event schema.Event
	// Time is in nanoseconds since 1970 UTC and never decreases. A frame without a time has the
	// time of the previous one.
	Time int64
	// Bytes are the output and Stream is its origin; only for [schema.EventOutput].
	Bytes  []byte
	Stream schema.Stream
	// Record is the frame's record; its Detail describes the event.
	Record *Record
}

// Frames returns the frames of [Session.Transcript] in order. If the copy lacks a record's exact
// bytes, its text is used, followed by a newline unless the line continues; if it lacks the timing,
// all of the record's output has the record's time. The Bytes alias the record and must not be
// modified.
func (s *Session) Frames() iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		var clock int64
		for r := range s.Transcript() {
			for f := range r.Frames() {
				clock = max(clock, f.Time)
				f.Time = clock
				if !yield(f) {
					return
				}
			}
		}
	}
}

// Frames returns the frames of a record, like [Session.Frames], with the record's own times.
func (r *Record) Frames() iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		f := Frame{Event: r.Event, Time: r.Time, Stream: r.Stream, Record: r}
		if r.Event != schema.EventOutput {
			yield(f)
			return
		}
		rest := r.Log
		if r.Lost.Has(LostLog) {
			rest = bytes.Clone(r.Text)
			if !r.Partial {
				rest = append(rest, "\r\n"...)
			}
			f.Bytes = rest
			yield(f)
			return
		}
		for delay, n := range timings(r.Timing) {
			if n > len(rest) {
				break
			}
			f.Time += delay
			f.Bytes, rest = rest[:n], rest[n:]
			if !yield(f) {
				return
			}
		}
		if len(rest) > 0 { // not covered by the timing
			f.Bytes = rest
			yield(f)
		}
	}
}

// timings returns the pairs of a timing: a delay in nanoseconds and a number of bytes. It stops at
// the first malformed pair.
func timings(timing []byte) iter.Seq2[int64, int] {
	return func(yield func(int64, int) bool) {
		for pair := range bytes.FieldsSeq(timing) {
			before, after, _ := bytes.Cut(pair, []byte(":"))
			delay, err := strconv.ParseInt(string(before), 10, 64)
			if err != nil || delay < 0 || delay > 1<<50 {
				return
			}
			n, err := strconv.Atoi(string(after))
			if err != nil || n < 1 {
				return
			}
			if !yield(delay*1000, n) {
				return
			}
		}
	}
}
