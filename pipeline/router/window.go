package router

import (
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A fetched is a segment that was read from LOGS.
type fetched struct {
	sequence  uint64
	published time.Time
	size      int    // of the message, in bytes
	memory    int64  // that it has reserved
	trace     string // as in bus.Message
	segment   *schema.Segment
}

// A window holds the segments that a worker has read and not delivered, in stream order. Several
// batches of it can be in flight, no two of which have an operation in common: each operation's
// records are written in order, and operations are independent. It is for one goroutine.
type window struct {
	retention retention
	reached   uint64 // segments up to this sequence were delivered before, and are never missing

	segments []*windowSegment  // in stream order
	pending  []*windowSegment  // those of them in no batch, in stream order
	records  int               // of pending
	inFlight map[string]*batch // by operation
	spare    []*batch          // that were delivered
}

// A windowSegment is a segment in a window.
type windowSegment struct {
	sequence  uint64
	published time.Time
	read      time.Time // when it came into the window
	operation string
	skipped   int     // records that were delivered before
	records   int     // the others
	shown     int64   // when the first of those was, in nanoseconds since 1970 UTC
	fetched   fetched // until it is delivered
	memory    int64   // reserved until then
	delivered bool
}

// A batch holds the entries of one delivery.
type batch struct {
	entries  []sinks.Entry
	segments []*windowSegment
	size     int       // of the segments, in bytes
	traces   []string  // of the segments
	shown    int64     // when the first record was, in nanoseconds since 1970 UTC; 0 if there is none
	stored   time.Time // when the first segment was published
	deadline time.Time // retention deadline of the first segment that may be missing; zero for none
}

func newWindow(r retention, reached uint64) *window {
	return &window{retention: r, reached: reached, inFlight: make(map[string]*batch)}
}

// add adds a segment. One without records counts as delivered.
func (w *window) add(f fetched, now time.Time) *windowSegment {
	s := &windowSegment{
		sequence: f.sequence, published: f.published, read: now, operation: f.segment.Operation.ID,
		records: len(f.segment.Records), memory: f.memory,
	}
	w.segments = append(w.segments, s)
	if s.records == 0 { // the position moves past it
		s.delivered = true
		return s
	}
	s.shown, s.fetched = f.segment.Records[0].Time, f
	w.pending = append(w.pending, s)
	w.records += s.records
	return s
}

// next returns a batch of the first pending segment whose operation has no batch in flight, and of
// as many more as fit into the limits. It returns nil if there is no such segment.
func (w *window) next(maxRecords, maxBytes int) *batch {
	var b *batch
	passed, i := 0, 0
	for ; i < len(w.pending); i++ {
		s := w.pending[i]
		if of, ok := w.inFlight[s.operation]; ok && of != b {
			w.pending[passed] = s
			passed++
			continue
		}
		if b == nil {
			b = w.blank()
		} else if len(b.entries)+s.records > maxRecords || b.size+s.fetched.size > maxBytes {
			break
		}
		w.inFlight[s.operation] = b
		b.add(s, w.reached, w.retention)
		w.records -= s.records
	}
	w.pending = slices.Delete(w.pending, passed, i)
	return b
}

// done takes back a batch that was delivered.
func (w *window) done(b *batch) {
	for _, s := range b.segments {
		s.delivered, s.fetched = true, fetched{}
		delete(w.inFlight, s.operation)
	}
	clear(b.entries)
	clear(b.segments)
	*b = batch{entries: b.entries[:0], segments: b.segments[:0], traces: b.traces[:0]}
	w.spare = append(w.spare, b)
}

// blank returns an empty batch.
func (w *window) blank() *batch {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return new(batch)
}

// pass removes the delivered segments before the first undelivered one, and returns the last of
// them, or nil.
func (w *window) pass() *windowSegment {
	n := 0
	for n < len(w.segments) && w.segments[n].delivered {
		n++
	}
	if n == 0 {
		return nil
	}
	last := w.segments[n-1]
	w.segments = slices.Delete(w.segments, 0, n)
	return last
}

// add adds a segment. Segments up to reached are never missing, and set no deadline.
func (b *batch) add(s *windowSegment, reached uint64, r retention) {
	f := &s.fetched
	for i := range f.segment.Records {
		b.entries = append(b.entries, sinks.Entry{Operation: f.segment.Operation, Record: &f.segment.Records[i]})
	}
	b.segments = append(b.segments, s)
	b.size += f.size
	if b.shown == 0 || s.shown < b.shown {
		b.shown = s.shown
	}
	if b.stored.IsZero() {
		b.stored = s.published
	}
	if f.trace != "" {
		b.traces = append(b.traces, f.trace)
	}
	if b.deadline.IsZero() && s.sequence > reached {
		b.deadline = r.deadline(s.published)
	}
}

// split records in ahead how many of each segment's first records are delivered, of a batch of
// which some entries are left.
func (b *batch) split(left []sinks.Entry, ahead map[uint64]int) {
	entries := b.entries
	for _, s := range b.segments {
		n := 0
		for n < s.records && (len(left) == 0 || entries[n] != left[0]) {
			n++
		}
		for i := range s.records { // skip those of the segment that are left
			if len(left) > 0 && entries[i] == left[0] {
				left = left[1:]
			}
		}
		entries = entries[s.records:]
		if n > 0 {
			ahead[s.sequence] = s.skipped + n
		}
	}
}
