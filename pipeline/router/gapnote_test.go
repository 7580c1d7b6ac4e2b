package router

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
)

// uncommit replaces the note of an operation by one whose gaps are pending, as a worker leaves it
// when it stops before it moves the position.
func uncommit(t testing.TB, g *rig, drain string, op *schema.Operation, p schema.PendingGaps) {
	t.Helper()
	note, _, err := g.bus.OperationGaps(t.Context(), drain, 0, op.ID)
	if err != nil {
		t.Fatal(err)
	}
	note.Operation, note.Gaps, note.Through, note.Pending = op, nil, 0, &p
	if err := g.bus.SaveGaps(t.Context(), drain, 0, &note); err != nil {
		t.Fatal(err)
	}
}

// TestPendingGapsAreNotDelivered: a worker saved pending gaps and stopped before it moved the
// position. The drain accepts the records then, and receives no gap record about them.
func TestPendingGapsAreNotDelivered(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	t.Cleanup(g.bus.Close)
	whole, sink := g.memoryDrain("whole", nil), g.memoryDrain("drain", nil)
	g.begin()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	suspend(t, o, g, 1)
	c := g.converse("web")
	c.say("2", "3")
	whole.arrived(t, c.op, 3)
	g.stop()

	lease, err := g.bus.Acquire(t.Context(), drain.LeaseName("drain", 0))
	if err != nil {
		t.Fatal(err)
	}
	end, err := g.bus.End(t.Context(), schema.StreamLogs)
	if err != nil || end == lease.Position() {
		t.Fatalf("nothing is undelivered: %v", err)
	}
	uncommit(t, g, "drain", c.op, schema.PendingGaps{Epoch: lease.Epoch(), From: lease.Position(), Until: end, Gaps: []schema.Gap{{First: 1, Last: 3}}})
	lease.Release()

	if err := o.Pause(t.Context(), "drain", false); err != nil {
		t.Fatal(err)
	}
	g.start()
	sink.arrived(t, c.op, 3)
	suspend(t, o, g, 1)() // the next run finds the position past them
	c.end()
	sink.arrived(t, c.op, 4)
	whole.arrived(t, c.op, 4)
	g.stop()
	if missing := sink.covers(t, c.op, whole); missing != nil {
		t.Errorf("gap records were sent of %v", missing)
	}
	for i := range sink.records(c.op) {
		if isGap(&sink.records(c.op)[i]) {
			t.Error("a gap record was sent of records that the drain has")
		}
	}
	if left, err := g.bus.Gaps(t.Context(), "drain", 0); err != nil || len(left) != 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
}
