package router

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func TestRouterReportsGapAfterRetention(t *testing.T) {
	t.Parallel()
	g := shortly(t, 8*time.Second)
	var down atomic.Bool
	whole, dead := g.memoryDrain("whole", nil), g.memoryDrain("dead", refuse(&down))
	g.begin()
	defer func() { g.stop() }()
	one, two := g.converse("web"), g.converse("db")
	one.say("1", "2")
	two.say("a")
	g.drain()
	down.Store(true)
	for i := range 5 {
		one.say(fmt.Sprint("lost ", i))
		two.say(fmt.Sprint("also lost ", i))
	}
	g.noted("dead", one.op, 8)
	g.noted("dead", two.op, 7)
	g.removed(one, two)
	three := g.converse("web")
	for _, c := range []*conversation{one, two, three} {
		c.say("after")
		c.end()
	}
	whole.arrived(t, three.op, 3)
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	waittest.Until(t, "what came after the gap is counted", func() bool {
		d := stateOf(t, o, "dead")
		return d.LagRecords >= 3 && !d.LagAtLeast && d.LagSeconds > 0 && d.State == schema.DrainRetrying
	})
	down.Store(false)
	four := g.converse("web")
	four.say("2")
	four.end()
	dead.arrived(t, four.op, 3)
	whole.arrived(t, four.op, 3)
	// Its end depends on when the drain came back.
	missing := [][]uint64{dead.covers(t, one.op, whole), dead.covers(t, two.op, whole), dead.covers(t, three.op, whole)}
	for i, first := range []uint64{4, 3, 1} {
		if n := len(missing[i]); n < 5 && i < 2 || !slices.Equal(missing[i], from(first, first+uint64(n)-1)) {
			t.Errorf("missing are %v", missing[i])
		}
	}
	dead.mustMiss(t, four.op, whole, nil)
	whole.mustMiss(t, one.op, whole, nil)
	if n := g.counted(g.r.o.Metrics.counters[drainMissed], "dead"); n != float64(len(slices.Concat(missing...))) {
		t.Errorf("%g records are counted as missed", n)
	}
	if n := g.counted(g.r.o.Metrics.counters[drainUnattended], "dead"); n != 0 {
		t.Errorf("%g losses were not seen", n)
	}
	waittest.Until(t, "the gaps are delivered, and their notes deleted", func() bool {
		left, err := g.bus.Gaps(t.Context(), "dead", 0)
		return err == nil && len(left) == 0
	})
}

// TestWorkerStopsWhileAbandoning: a worker stopped after it saved gaps, and before it moved the
// position. The next one saves them once, without the records that the first knew as acknowledged.
func TestWorkerStopsWhileAbandoning(t *testing.T) {
	t.Parallel()
	g := shortly(t, 16*time.Second)
	var down, partly atomic.Bool
	whole := g.memoryDrain("whole", nil)
	dead := g.memoryDrain("dead", func(batch []sinks.Entry) error {
		if partly.Load() { // it accepts the third record only
			e := &sinks.Error{Verdict: sinks.Retry, Reason: "busy"}
			for i, entry := range batch {
				if entry.Record.Sequence != 3 {
					e.Items = append(e.Items, sinks.Item{Index: i, Reason: "busy"})
				}
			}
			if len(e.Items) > 0 {
				return e
			}
		}
		return refuse(&down)(batch)
	})
	g.drains[1].Writers, g.drains[1].BatchWait = 1, time.Second // for all of it to be in one batch
	g.drains[1].Alone = false
	g.begin()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	resume := suspend(t, o, g, 1)
	before := g.r.workers[1].position.delivered.Load()
	down.Store(true)
	partly.Store(true)
	c := g.converse("web")
	c.say("2", "3", "4", "5")
	whole.arrived(t, c.op, 5)
	resume()
	noted := g.noted("dead", c.op, 5)
	if len(noted.Gaps) != 2 || noted.Gaps[0].First != 1 || noted.Gaps[0].Last != 2 || noted.Gaps[1].First != 4 || noted.Gaps[1].Last != 5 {
		t.Fatalf("noted is %+v", noted.Gaps)
	}
	waittest.Until(t, "the worker moves on", func() bool { return g.r.workers[1].position.delivered.Load() > before })
	g.stop()
	partly.Store(false)
	lease, err := g.bus.Acquire(t.Context(), drain.LeaseName("dead", 0))
	if err != nil {
		t.Fatal(err)
	}
	if lease.Position() == before {
		t.Fatal("the worker did not move on")
	}
	p := lease.Progress()
	epoch := p.Abandoned[0].Epoch
	p.Sequence, p.Reached, p.Abandoned = before, before, nil
	if err := lease.SaveProgress(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	uncommit(t, g, "dead", c.op, schema.PendingGaps{Epoch: epoch, From: before, Until: noted.Through, Gaps: noted.Gaps})
	lease.Release()
	g.start()
	waittest.Until(t, "the worker moved on", func() bool { return g.r.workers[1].position.delivered.Load() >= noted.Through })
	waittest.Until(t, "the gaps are committed", func() bool { return g.noted("dead", c.op, 5).Pending == nil })
	if again := g.noted("dead", c.op, 5); !reflect.DeepEqual(again.Gaps, noted.Gaps) {
		t.Errorf("noted again is %+v, and it was %+v", again.Gaps, noted.Gaps)
	}
	c.end()
	whole.arrived(t, c.op, 6)
	down.Store(false)
	dead.arrived(t, c.op, 6)
	dead.mu.Lock()
	dead.got[c.op.ID] = inPlace(dead.got[c.op.ID])
	dead.mu.Unlock()
	dead.mustMiss(t, c.op, whole, []uint64{1, 2, 4, 5})
}

// suspend pauses the drain of a worker, and waits until the worker has followed.
func suspend(t testing.TB, o *operate.Operator, g *rig, worker int) (resume func()) {
	t.Helper()
	name := g.drains[worker].Name
	if err := o.Pause(t.Context(), name, true); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the drain is paused", func() bool { return g.r.workers[worker].suspended.Load() })
	return func() {
		t.Helper()
		if err := o.Pause(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
	}
}

// inPlace moves a record that was accepted alone to its place.
func inPlace(records []schema.Record) []schema.Record {
	slices.SortStableFunc(records, func(a, b schema.Record) int { return int(a.Sequence) - int(b.Sequence) })
	return records
}

func TestPausedDrainAbandonsRecords(t *testing.T) {
	t.Parallel()
	g := shortly(t, 8*time.Second)
	whole, paused := g.memoryDrain("whole", nil), g.memoryDrain("paused", nil)
	g.begin()
	defer func() { g.stop() }()
	c := g.converse("web")
	g.drain()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	resume := suspend(t, o, g, 1)
	c.say("2", "3")
	g.noted("paused", c.op, 3)
	g.removed(c)
	resume()
	c.end()
	waittest.Until(t, "the drain gets the end", func() bool { return paused.last(c.op) == schema.EventEnd })
	waittest.Until(t, "the other drain gets the end", func() bool { return whole.last(c.op) == schema.EventEnd })
	missing := paused.covers(t, c.op, whole)
	if len(missing) < 2 || !slices.Equal(missing, from(2, missing[len(missing)-1])) {
		t.Errorf("missing are %v", missing)
	}
	paused.mu.Lock()
	defer paused.mu.Unlock()
	gaps := 0
	for i := range paused.got[c.op.ID] {
		if isGap(&paused.got[c.op.ID][i]) {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("the drain has %d gap records of one gap", gaps)
	}
}

// TestAcknowledgedRecordsAreNotMissing: the drain acknowledged a part of a batch, and never
// accepted the rest.
func TestAcknowledgedRecordsAreNotMissing(t *testing.T) {
	t.Parallel()
	g := shortly(t, 8*time.Second)
	var down atomic.Bool
	down.Store(true)
	whole := g.memoryDrain("whole", nil)
	dead := g.memoryDrain("dead", func(batch []sinks.Entry) error {
		if !down.Load() {
			return nil
		}
		e := &sinks.Error{Verdict: sinks.Retry, Reason: "busy"}
		for i, entry := range batch { // of each operation, the second record and the fifth
			if n := entry.Record.Sequence; n != 2 && n != 5 {
				e.Items = append(e.Items, sinks.Item{Index: i, Reason: "busy"})
			}
		}
		if len(e.Items) == 0 {
			return nil
		}
		return e
	})
	g.drains[1].Writers, g.drains[1].BatchWait = 1, time.Second // for all of it to be in one batch
	g.drains[1].Alone = false
	g.begin()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	resume := suspend(t, o, g, 1)
	one, two := g.converse("web"), g.converse("web")
	for i := range 5 {
		one.say(fmt.Sprint("one ", i))
		two.say(fmt.Sprint("two ", i))
	}
	whole.arrived(t, two.op, 6)
	resume()
	for _, c := range []*conversation{one, two} {
		noted := g.noted("dead", c.op, 6)
		whole.arrived(t, c.op, 6)
		has := make(map[uint64]bool)
		dead.mu.Lock()
		for _, r := range dead.got[c.op.ID] {
			has[r.Sequence] = true
		}
		dead.mu.Unlock()
		if len(has) == 0 {
			t.Fatal("the drain has nothing, which is not what this test is about")
		}
		for n := uint64(1); n <= 6; n++ {
			inGap := slices.ContainsFunc(noted.Gaps, func(gap schema.Gap) bool { return gap.First <= n && n <= gap.Last })
			if inGap == has[n] {
				t.Errorf("operation %s: record %d: missing %t, there %t", c.op.ID, n, inGap, has[n])
			}
		}
	}
	down.Store(false)
	for _, c := range []*conversation{one, two} {
		c.end()
		dead.arrived(t, c.op, 7)
		whole.arrived(t, c.op, 7)
		dead.mu.Lock()
		dead.got[c.op.ID] = inPlace(dead.got[c.op.ID])
		dead.mu.Unlock()
		dead.covers(t, c.op, whole)
	}
}

// A hangingSink does not answer while down is set.
type hangingSink struct {
	*memorySink
	down *atomic.Bool
}

func (s hangingSink) Write(ctx context.Context, batch []sinks.Entry) error {
	if s.down.Load() {
		<-ctx.Done()
		return &sinks.Error{Verdict: sinks.Retry, Err: ctx.Err()}
	}
	return s.memorySink.Write(ctx, batch)
}

func TestHangingWriteIsAborted(t *testing.T) {
	t.Parallel()
	g := shortly(t, 8*time.Second)
	var down atomic.Bool
	down.Store(true)
	whole, hanging := g.memoryDrain("whole", nil), g.memoryDrain("hanging", nil)
	g.drains[1].Open = func() (sinks.Sink, error) { return hangingSink{hanging, &down}, nil }
	g.begin()
	defer func() { g.stop() }()
	c := g.converse("web")
	c.say("2", "3")
	g.noted("hanging", c.op, 3)
	down.Store(false)
	c.end()
	hanging.arrived(t, c.op, 4)
	whole.arrived(t, c.op, 4)
	hanging.mustMiss(t, c.op, whole, from(1, 3))
}

// TestUnattendedLoss: no router ran while the stream removed undelivered segments.
func TestUnattendedLoss(t *testing.T) {
	t.Parallel()
	g := shortly(t, 10*time.Second) // enough for the end of the removed output to arrive on a busy machine
	whole, away := g.memoryDrain("whole", nil), g.memoryDrain("away", nil)
	drains := g.drains
	g.begin()
	defer func() { g.stop() }()
	had, went := g.converse("web"), g.converse("web")
	had.say("2")
	whole.arrived(t, had.op, 2)
	away.arrived(t, had.op, 2)
	whole.arrived(t, went.op, 1)
	g.update(drains[0])
	had.say("3", "4")
	went.say("2", "3")
	went.end()
	whole.arrived(t, had.op, 4)
	whole.arrived(t, went.op, 4)
	g.removed(had)
	had.end()
	fresh := g.converse("web")
	fresh.say("2")
	fresh.end()
	whole.arrived(t, fresh.op, 3)
	g.update(drains...)
	away.arrived(t, fresh.op, 3)
	away.mustMiss(t, fresh.op, whole, nil)
	// Operations are delivered independently, so that fresh does not show the progress of had.
	waittest.Until(t, "the drain gets the end", func() bool { return away.last(had.op) == schema.EventEnd })
	away.mu.Lock()
	defer away.mu.Unlock()
	got := away.got[had.op.ID]
	if len(got) < 4 || !isGap(&got[2]) {
		t.Fatalf("the drain has %d records", len(got))
	}
	gap, next := got[2], got[3]
	if d := gap.Detail; !d.Uncertain || gap.Sequence != 1 || d.LastSequence != next.Sequence-1 || gap.Offset != 0 || *d.Bytes != next.Offset || d.LastSequence < 4 {
		t.Errorf("the gap is %+v with %+v", gap, *gap.Detail)
	}
	if last := got[len(got)-1]; last.Event != schema.EventEnd || int(last.Sequence-next.Sequence)+1 != len(got)-3 {
		t.Errorf("the last of %d records is %d, %s", len(got), last.Sequence, last.Event)
	}
	if n := g.counted(g.r.o.Metrics.counters[drainUnattended], "away"); n != 1 {
		t.Errorf("%g losses are counted", n)
	}
	if n := g.counted(g.r.o.Metrics.counters[drainUnattended], "whole"); n != 0 {
		t.Errorf("%g losses of the drain that was there are counted", n)
	}
}

// TestNewDrainHasNoGaps: a new drain starts with what the stream has, and has no gaps.
func TestNewDrainHasNoGaps(t *testing.T) {
	t.Parallel()
	g := shortly(t, 4*time.Second)
	whole, fresh := g.memoryDrain("whole", nil), g.memoryDrain("fresh", nil)
	drains := g.drains
	g.drains = drains[:1]
	g.begin()
	defer func() { g.stop() }()
	c := g.converse("web")
	c.say("2")
	g.drain()
	g.removed(c)
	g.update(drains...)
	c.end()
	waittest.Until(t, "the drain gets the end", func() bool { return fresh.last(c.op) == schema.EventEnd })
	waittest.Until(t, "the other drain gets the end", func() bool { return whole.last(c.op) == schema.EventEnd })
	all, got := whole.records(c.op), fresh.records(c.op)
	if len(got) >= len(all) || got[0].Sequence != all[len(all)-len(got)].Sequence {
		t.Errorf("the drain has %d of %d records, from %d on", len(got), len(all), got[0].Sequence)
	}
	for i := range got {
		if isGap(&got[i]) {
			t.Errorf("the drain misses %+v", got[i])
		}
	}
	if n := g.counted(g.r.o.Metrics.counters[drainUnattended], "fresh"); n != 0 {
		t.Errorf("%g losses are counted", n)
	}
}

// TestGapsOmitHealthInformation: a gap record would reveal the session.
func TestGapsOmitHealthInformation(t *testing.T) {
	t.Parallel()
	g := shortly(t, 8*time.Second)
	var down atomic.Bool
	down.Store(true)
	agreed, other := g.memoryDrain("agreed", refuse(&down)), g.memoryDrain("other", refuse(&down))
	g.drains[0].PHI = true
	g.begin()
	defer func() { g.stop() }()
	clinic, web := g.converse("clinic"), g.converse("web")
	clinic.say("2")
	web.say("2")
	g.noted("agreed", clinic.op, 2)
	g.noted("other", web.op, 2)
	if _, noted, err := g.bus.OperationGaps(t.Context(), "other", 0, clinic.op.ID); err != nil || noted {
		t.Errorf("a drain without the agreement misses what it never gets: %v", err)
	}
	g.stop()
	g.drains[0].PHI = false // the agreement ends
	g.start()
	down.Store(false)
	web.end()
	agreed.arrived(t, web.op, 3)
	other.arrived(t, web.op, 3)
	if n, m := agreed.count(clinic.op), other.count(clinic.op); n+m != 0 {
		t.Errorf("%d and %d records tell of a session that may hold health information", n, m)
	}
}
