package router

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A gatedSink blocks the writes of some operations, and counts the writes in flight.
type gatedSink struct {
	*memorySink
	gate func(operation string) <-chan struct{} // nil: it is open

	now, most atomic.Int32
}

func (s *gatedSink) Write(ctx context.Context, batch []sinks.Entry) error {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	for _, e := range batch {
		select {
		case <-s.gate(e.Operation.ID):
		case <-ctx.Done():
			return &sinks.Error{Verdict: sinks.Retry, Reason: "cancelled", Err: ctx.Err()}
		}
	}
	return s.memorySink.Write(ctx, batch)
}

// TestOperationsAreIndependent has a drain that does not answer for one operation: the
// records of all others arrive, and the position stays before the undelivered ones, so that nothing
// is lost when the router stops.
func TestOperationsAreIndependent(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	memory := g.memoryDrain("all", nil)
	g.drains[0].BatchRecords = 1 // so that each batch is of one operation
	open := make(chan struct{})
	close(open)
	shut := make(chan struct{})
	var mu sync.Mutex
	held := "" // the operation
	sink := &gatedSink{memorySink: memory, gate: func(operation string) <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if held == "" {
			held = operation
		}
		if operation == held {
			return shut
		}
		return open
	}}
	g.drains[0].Open = func() (sinks.Sink, error) { return sink, nil }
	rng := rand.New(rand.NewPCG(5, 5))
	type session struct {
		op    *schema.Operation
		shown []byte
	}
	var sessions []session
	for range 6 {
		op, shown := g.session(rng, "web", 5_000, false)
		sessions = append(sessions, session{op, shown})
	}
	g.start()
	waittest.Until(t, "all other operations", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range sessions {
			if held == "" || s.op.ID != held && memory.last(s.op) != schema.EventEnd {
				return false
			}
		}
		return true
	})
	if n := sink.most.Load(); n < 2 || n > 4 {
		t.Errorf("%d writes were under way at a time, want 2 to 4", n)
	}
	g.stop() // the write ends with it
	before := make(map[string]int)
	for _, s := range sessions {
		before[s.op.ID] = memory.count(s.op)
	}
	close(shut)
	g.start()
	defer func() { g.stop() }()
	g.drain()
	for _, s := range sessions {
		memory.check(t, s.op, s.shown)
		if n := memory.count(s.op); s.op.ID != held && n != before[s.op.ID] {
			t.Errorf("of operation %s, all of which was delivered, %d records came again", s.op.ID, n-before[s.op.ID])
		}
	}
}

// TestOneBatchProbesFailingDrain holds that only one of the batches in flight probes a drain
// that is down.
func TestOneBatchProbesFailingDrain(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	var down atomic.Bool
	down.Store(true)
	memory := g.memoryDrain("all", refuse(&down))
	open := make(chan struct{})
	close(open)
	sink := &gatedSink{memorySink: memory, gate: func(string) <-chan struct{} { return open }}
	g.drains[0].Open = func() (sinks.Sink, error) { return sink, nil }
	rng := rand.New(rand.NewPCG(6, 6))
	var ops []*schema.Operation
	var shown [][]byte
	for range 6 {
		op, text := g.session(rng, "web", 5_000, false)
		ops, shown = append(ops, op), append(shown, text)
	}
	g.start()
	defer func() { g.stop() }()
	w := g.r.workers[0]
	waittest.Until(t, "the drain's failing", w.status.failing.Load)
	// Writes in flight at the failure end first. From now on there is one at a time.
	waittest.Until(t, "a write by the holder of the probe token", func() bool { return len(w.deliverer.probeToken) == 0 && sink.now.Load() <= 1 })
	sink.most.Store(0)
	before := g.counted(w.target.series.retries, "all")
	waittest.Until(t, "some tries", func() bool { return g.counted(w.target.series.retries, "all") >= before+3 })
	if n := sink.most.Load(); n > 1 {
		t.Errorf("%d writes to a drain that fails at a time", n)
	}
	down.Store(false)
	waittest.Until(t, "its recovery", func() bool { return !w.status.failing.Load() })
	g.drain()
	for i, op := range ops {
		memory.check(t, op, shown[i])
	}
}
