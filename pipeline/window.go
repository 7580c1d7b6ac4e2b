package pipeline

import (
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// A window holds the segments that a worker has read and not delivered, in the order of the stream.
// Several batches of it can be under way, none of which have an operation in common: so each
// operation's records are written in their order, and between operations there is none. It is for
// one goroutine.
type window struct {
	keep    keeping
	reached uint64 // what comes up to it was delivered before, and is never missing

	held    []*holding        // in the stream's order
	waiting []*holding        // of them, those that are in no batch, in the same order
	records int               // of waiting
	busy    map[string]*batch // operations with a batch under way
	spare   []*batch          // that were delivered
}

// A holding is a segment of a window.
type holding struct {
	sequence  uint64
	at        time.Time // when it was published
	read      time.Time // when it came into the window
	operation string
	skipped   int     // records that the drain had before
	records   int     // the others
	shown     int64   // when the first of them was, in nanoseconds since 1970 UTC
	fetched   fetched // until it is delivered
	room      int64   // until then, too
	delivered bool
}

// A batch is what is written at once.
type batch struct {
	entries  []sinks.Entry
	segments []*holding
	size     int       // of the segments
	traces   []string  // of the segments
	shown    int64     // when the first of the records was, in nanoseconds since 1970 UTC; 0 without any
	stored   time.Time // when the first segment of them was
	due      time.Time // when the first of them is to be given up; zero where none ever is
}

func newWindow(k keeping, reached uint64) *window {
	return &window{keep: k, reached: reached, busy: make(map[string]*batch)}
}

// add takes a segment.
func (w *window) add(f fetched, now time.Time) *holding {
	h := &holding{sequence: f.sequence, at: f.at, read: now, operation: f.segment.Operation.ID, records: len(f.segment.Records), room: f.room}
	w.held = append(w.held, h)
	if h.records == 0 { // the position moves past it all the same
		h.delivered = true
		return h
	}
	h.shown, h.fetched = f.segment.Records[0].Time, f
	w.waiting = append(w.waiting, h)
	w.records += h.records
	return h
}

// next makes a batch of the first segment that waits, and of as many more as do not make it larger
// than this. It is nil where the operations of all that wait have batches under way.
func (w *window) next(records, bytes int) *batch {
	var b *batch
	passed, i := 0, 0
	for ; i < len(w.waiting); i++ {
		h := w.waiting[i]
		if of, ok := w.busy[h.operation]; ok && of != b {
			w.waiting[passed] = h
			passed++
			continue
		}
		if b == nil {
			b = w.blank()
		} else if len(b.entries)+h.records > records || b.size+h.fetched.size > bytes {
			break
		}
		w.busy[h.operation] = b
		b.add(h, w.reached, w.keep)
		w.records -= h.records
	}
	w.waiting = slices.Delete(w.waiting, passed, i)
	return b
}

// done takes a batch back that was delivered.
func (w *window) done(b *batch) {
	for _, h := range b.segments {
		h.delivered, h.fetched = true, fetched{}
		delete(w.busy, h.operation)
	}
	clear(b.entries)
	clear(b.segments)
	*b = batch{entries: b.entries[:0], segments: b.segments[:0], traces: b.traces[:0]}
	w.spare = append(w.spare, b)
}

// blank is an empty batch.
func (w *window) blank() *batch {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return new(batch)
}

// pass lets go of the first segments, as far as they are delivered, and gives the last of them; nil
// for none.
func (w *window) pass() *holding {
	n := 0
	for n < len(w.held) && w.held[n].delivered {
		n++
	}
	if n == 0 {
		return nil
	}
	last := w.held[n-1]
	w.held = slices.Delete(w.held, 0, n)
	return last
}

// add adds a segment. What comes up to reached was delivered before, and is never missing.
func (b *batch) add(h *holding, reached uint64, k keeping) {
	f := &h.fetched
	for i := range f.segment.Records {
		b.entries = append(b.entries, sinks.Entry{Operation: f.segment.Operation, Record: &f.segment.Records[i]})
	}
	b.segments = append(b.segments, h)
	b.size += f.size
	if b.shown == 0 || h.shown < b.shown {
		b.shown = h.shown
	}
	if b.stored.IsZero() {
		b.stored = h.at
	}
	if f.trace != "" {
		b.traces = append(b.traces, f.trace)
	}
	if b.due.IsZero() && h.sequence > reached {
		b.due = k.giveUpAt(h.at)
	}
}

// split notes what the drain has of a batch that was not delivered as a whole, by segment: its
// first records, up to one of those that are left.
func (b *batch) split(left []sinks.Entry, has map[uint64]int) {
	entries := b.entries
	for _, h := range b.segments {
		n := 0
		for n < h.records && (len(left) == 0 || entries[n] != left[0]) {
			n++
		}
		for i := range h.records { // those of the segment that are left
			if len(left) > 0 && entries[i] == left[0] {
				left = left[1:]
			}
		}
		entries = entries[h.records:]
		if n > 0 {
			has[h.sequence] = h.skipped + n
		}
	}
}
