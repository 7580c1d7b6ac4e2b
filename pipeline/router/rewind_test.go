package router

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestRewindForward: a rewind past undelivered records is refused. With skip they become a gap,
// which is delivered and counted.
func TestRewindForward(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 2), key: testKey(t)}
	defer g.bus.Close()
	var down atomic.Bool
	sink := g.memoryDrain("siem", refuse(&down))
	other := g.memoryDrain("other", nil)
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	record := func() *schema.Operation { return g.recordUntil(other) }
	first := record()
	waittest.Until(t, "the first is delivered", func() bool { return sink.last(first) == schema.EventEnd })
	down.Store(true)
	skipped := []*schema.Operation{record(), record(), record()}
	target := record()
	lacking := uint64(0)
	for _, op := range skipped {
		lacking += uint64(other.count(op))
	}
	waittest.Until(t, "what it lacks is counted", func() bool { return stateOf(t, o, "siem").LagRecords == lacking+uint64(other.count(target)) })

	err := o.RewindToOperation(t.Context(), "siem", target.ID, false)
	var refused *operate.SkipError
	if !errors.As(err, &refused) || refused.Records != lacking || refused.AtLeast || !strings.Contains(err.Error(), "--skip") {
		t.Fatalf("%v: %+v; the drain lacks %d records", err, refused, lacking)
	}
	if err := o.RewindToTime(t.Context(), "siem", time.Now().Add(time.Hour), false); !errors.As(err, &refused) {
		t.Errorf("to the future: %v", err)
	}
	// A rewind back is allowed.
	if err := o.RewindToOperation(t.Context(), "siem", first.ID, false); err != nil {
		t.Fatal(err)
	}
	// So is a rewind forward without skip, of an earlier version or after a race: it skips nothing.
	if err := g.bus.ChangeDrainControl(t.Context(), "siem", func(c *schema.DrainControl) { c.Rewind = &schema.Rewind{ID: "old", After: 1 << 40} }); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "it is followed", func() bool {
		for partition := range 2 {
			p, _, err := g.bus.Progress(t.Context(), drain.LeaseName("siem", partition))
			if err != nil || p.Rewind != "old" || p.Sequence > 1<<39 {
				return false
			}
		}
		return true
	})
	if n := g.counted(g.r.workers[0].target.series.missed, "siem"); n != 0 {
		t.Errorf("%v records are missed", n)
	}
	if err := o.RewindToOperation(t.Context(), "siem", target.ID, true); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "what is skipped is counted", func() bool { return g.counted(g.r.workers[0].target.series.missed, "siem") == float64(lacking) })
	down.Store(false)
	waittest.Until(t, "the target is delivered", func() bool { return sink.last(target) == schema.EventEnd })
	for _, op := range skipped {
		waittest.Until(t, "the gap of operation "+op.ID+" is delivered", func() bool { return sink.count(op) == 1 })
		sink.mu.Lock()
		gap := sink.got[op.ID][0]
		sink.mu.Unlock()
		if !isGap(&gap) || gap.Sequence != 1 || gap.Detail.LastSequence != uint64(other.count(op)) || !strings.Contains(gap.Detail.Reason, "operator") {
			t.Errorf("operation %s: %+v, %+v", op.ID, gap, gap.Detail)
		}
	}
	if sink.count(target) != other.count(target) {
		t.Errorf("%d records of the target, want %d", sink.count(target), other.count(target))
	}
}
