package router

import (
	"maps"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// TestPositionMarks holds that acknowledged records stay marked until their batch is delivered as a
// whole.
func TestPositionMarks(t *testing.T) {
	p := newPosition(&target{})
	op := &schema.Operation{ID: "7"}
	var batch []sinks.Entry
	for n := range uint64(3) {
		batch = append(batch, sinks.Entry{Operation: op, Record: &schema.Record{Sequence: n + 1}})
	}
	marked := func(want ...uint64) {
		t.Helper()
		keys := make(map[recordKey]struct{})
		for _, n := range want {
			keys[recordKey{"7", n}] = struct{}{}
		}
		if !maps.Equal(p.confirmed, keys) {
			t.Errorf("the marks are %v, want %v", p.confirmed, keys)
		}
	}
	p.mark(batch, batch)
	marked()
	p.mark(batch, batch[1:2])
	marked(1, 3)
	p.mark(batch, batch[2:])
	marked(1, 2, 3)
	p.unmark(batch[:1])
	marked(2, 3)
	p.unmark(batch)
	marked()
}

// TestPositionMoves holds that a move forgets what was delivered ahead of the new position.
func TestPositionMoves(t *testing.T) {
	p := newPosition(&target{})
	p.ahead[3], p.ahead[5], p.ahead[8] = 1, 2, 3
	p.move(5)
	if at := p.delivered.Load(); at != 5 || !maps.Equal(p.ahead, map[uint64]int{8: 3}) {
		t.Errorf("the position is %d with %v ahead", at, p.ahead)
	}
}
