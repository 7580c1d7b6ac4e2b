package router

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// segmentOf returns a segment of an operation with n records from a sequence on.
func segmentOf(operation string, first uint64, n int) *schema.Segment {
	s := &schema.Segment{Operation: &schema.Operation{ID: operation}}
	for i := range n {
		s.Records = append(s.Records, schema.Record{Sequence: first + uint64(i), Time: 1})
	}
	return s
}

// TestWindow takes batches from a window and returns them out of order. Each operation has at most
// one batch in flight, and its records come in order; the position never passes an undelivered
// segment; and every record comes once.
func TestWindow(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		w := newWindow(retention{time.Hour, time.Minute}, 0)
		next := make(map[string]uint64) // by operation: the sequence of the record that a drain gets next
		made := make(map[string]uint64)
		busy := make(map[string]bool)
		undelivered := make(map[uint64]bool) // by sequence of the segment
		var inFlight []*batch
		var stream, position uint64
		total := 0
		for step := 0; step < 400 || len(w.segments) > 0; step++ {
			switch rng.IntN(3) {
			case 0:
				if step >= 400 {
					continue
				}
				operation, n := strconv.Itoa(rng.IntN(5)), rng.IntN(6)
				stream++
				h := w.add(fetched{sequence: stream, size: 100, segment: segmentOf(operation, made[operation]+1, n)}, time.Time{})
				made[operation] += uint64(n)
				total += n
				if undelivered[stream] = n > 0; h.delivered == (n > 0) {
					t.Fatalf("a segment of %d records is delivered: %t", n, h.delivered)
				}
			case 1:
				most := 1 + rng.IntN(12)
				b := w.next(most, 1+rng.IntN(1000))
				if b == nil {
					for _, h := range w.pending {
						if !busy[h.operation] {
							t.Fatalf("operation %s waits for nothing", h.operation)
						}
					}
					continue
				}
				if len(b.entries) == 0 || len(b.entries) > most && len(b.segments) > 1 {
					t.Fatalf("%d records in %d segments, want %d at the most", len(b.entries), len(b.segments), most)
				}
				for _, h := range b.segments {
					if busy[h.operation] {
						t.Fatalf("operation %s is in two batches", h.operation)
					}
				}
				for _, h := range b.segments {
					busy[h.operation] = true
				}
				for _, e := range b.entries {
					if next[e.Operation.ID]++; e.Record.Sequence != next[e.Operation.ID] {
						t.Fatalf("record %d of operation %s comes instead of %d", e.Record.Sequence, e.Operation.ID, next[e.Operation.ID])
					}
				}
				total -= len(b.entries)
				inFlight = append(inFlight, b)
			case 2:
				if len(inFlight) == 0 {
					continue
				}
				i := rng.IntN(len(inFlight))
				b := inFlight[i]
				inFlight = append(inFlight[:i], inFlight[i+1:]...)
				for _, h := range b.segments {
					delete(busy, h.operation)
					undelivered[h.sequence] = false
				}
				w.done(b)
			}
			if last := w.pass(); last != nil {
				for position < last.sequence {
					if position++; undelivered[position] {
						t.Fatalf("the position passes the segment %d, which is not delivered", position)
					}
				}
			}
		}
		if position != stream || total != 0 || w.records != 0 {
			t.Fatalf("at segment %d of %d, %d records lack, %d wait", position, stream, total, w.records)
		}
	}
}

func TestSplitBatch(t *testing.T) {
	w := newWindow(retention{time.Hour, time.Minute}, 0)
	for i, n := range []int{3, 2, 4, 1} {
		w.add(fetched{sequence: uint64(10 + i), segment: segmentOf("a", 1, n)}, time.Time{})
	}
	w.segments[1].skipped = 5
	b := w.next(100, 100)
	pick := func(indices ...int) (entries []sinks.Entry) {
		for _, i := range indices {
			entries = append(entries, b.entries[i])
		}
		return entries
	}
	for _, c := range []struct {
		left []sinks.Entry
		want map[uint64]int
	}{
		{nil, map[uint64]int{10: 3, 11: 7, 12: 4, 13: 1}},
		{pick(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), map[uint64]int{}},
		{pick(4, 5, 6, 7, 8, 9), map[uint64]int{10: 3, 11: 6}},
		{pick(5, 6, 7, 8, 9), map[uint64]int{10: 3, 11: 7}},
		{pick(1, 6, 9), map[uint64]int{10: 1, 11: 7, 12: 1}},
	} {
		has := make(map[uint64]int)
		if b.split(c.left, has); !maps.Equal(has, c.want) {
			t.Errorf("of a batch of which %d are left the drain has %v, want %v", len(c.left), has, c.want)
		}
	}
}
