package replay

import (
	"bytes"
	"iter"
	"strconv"

	"github.com/ttydrain/ttydrain/schema"
)

// A Frame is what happened in a session at one moment.
type Frame struct {
	Event schema.Event
	// Time is in nanoseconds since 1970 UTC. It never goes back: what a copy has no time for has that
	// of the frame before.
	Time int64
	// Bytes are what was shown, and Stream where it came from; for [schema.EventOutput] alone.
	Bytes  []byte
	Stream schema.Stream
	// Record is the one that the frame is from: its Detail has what an event tells.
	Record *Record
}

// Frames gives what happened, in order, from [Session.Transcript]. A record whose bytes the copy
// does not have is shown by its text, with a line end behind it where the line does not go on; one
// without timing, as if all had come at once. Bytes are the record's: nobody may change them.
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

// Frames gives what happened in a record, as [Session.Frames] does, with the times that it has.
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
		if len(rest) > 0 { // what the timing does not account for
			f.Bytes = rest
			yield(f)
		}
	}
}

// timings are the pairs of a timing: a delay in nanoseconds, and a number of bytes. It ends where
// the timing is not one.
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
