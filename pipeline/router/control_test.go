package router

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// TestGoneDrain: a 410 suspends delivery, across restarts too, until the drain is resumed or has
// other settings.
func TestGoneDrain(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	var gone atomic.Bool
	var writes atomic.Int64
	gone.Store(true)
	other := g.memoryDrain("other", nil)
	sink := g.memoryDrain("siem", func([]sinks.Entry) error {
		writes.Add(1)
		if gone.Load() {
			return &sinks.Error{Verdict: sinks.Gone, Status: 410, Reason: "siem.example.com answered 410 Gone"}
		}
		return nil
	})
	settings := "the first"
	g.drains[1].Fingerprint = func(salt string) string { return salt + settings }
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	op, shown := g.session(rand.New(rand.NewPCG(9, 9)), "web", 5_000, false)
	isGone := func() bool {
		d := stateOf(t, o, "siem")
		return d.State == schema.DrainGone && strings.Contains(d.LastError, "410 Gone") && !d.LastErrorAt.IsZero()
	}
	waittest.Until(t, "the drain is gone", isGone)
	waittest.Until(t, "the other drain has all", func() bool { return other.last(op) == schema.EventEnd })
	all := uint64(other.count(op))
	waittest.Until(t, "what waits is counted", func() bool {
		d := stateOf(t, o, "siem")
		return d.LagRecords == all && !d.LagAtLeast && d.LagSeconds > 0
	})
	g.drain() // which does not wait for drains that are gone
	if n := writes.Load(); n != 1 {
		t.Errorf("the drain was written to %d times", n)
	}

	g.stop()
	if d := stateOf(t, o, "siem"); d.State != schema.DrainGone {
		t.Errorf("with nobody at work it is %s", d.State)
	}
	g.start()
	g.waitWorking()
	waittest.Until(t, "the worker knows", func() bool { return g.r.workers[1].suspended.Load() })
	if n := writes.Load(); n != 1 || !isGone() {
		t.Errorf("after a restart the drain was written to %d times", n-1)
	}

	if err := o.Pause(t.Context(), "siem", false); err != nil { // resumed, and still gone
		t.Fatal(err)
	}
	waittest.Until(t, "it was tried again", func() bool { return writes.Load() == 2 && isGone() })

	g.stop()
	gone.Store(false)
	settings = "others"
	g.start()
	waittest.Until(t, "the drain catches up", func() bool { return sink.last(op) == schema.EventEnd })
	sink.check(t, op, shown)
	waittest.Until(t, "nothing is left of it", func() bool {
		d := stateOf(t, o, "siem")
		return d.State == schema.DrainDelivering && d.LagRecords == 0 && !d.LagAtLeast && d.LagSeconds == 0
	})
}

// TestResumeGoneDrain holds that delivery resumes at the position.
func TestResumeGoneDrain(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 4), key: testKey(t)}
	defer g.bus.Close()
	var gone atomic.Bool
	sink := g.memoryDrain("siem", func([]sinks.Entry) error {
		if gone.Load() {
			return &sinks.Error{Verdict: sinks.Gone, Status: 410, Reason: "gone"}
		}
		return nil
	})
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	rng := rand.New(rand.NewPCG(10, 10))
	g.session(rng, "web", 5_000, false)
	g.drain()
	gone.Store(true)
	op, shown := g.session(rng, "web", 5_000, false)
	waittest.Until(t, "all workers of the drain rest", func() bool {
		for _, w := range g.r.workers {
			if !w.suspended.Load() {
				return false
			}
		}
		return true
	})
	gone.Store(false)
	if err := o.Pause(t.Context(), "siem", false); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the drain catches up", func() bool { return sink.last(op) == schema.EventEnd })
	sink.check(t, op, shown)
}
