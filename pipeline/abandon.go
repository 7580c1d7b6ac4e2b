package pipeline

import (
	"context"
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// An abandoning collects the gaps of one operation while segments are abandoned.
type abandoning struct {
	note  *bus.GapNote
	fresh schema.PendingGaps
	// resumed continues the pending gaps of an earlier tenure that examined the same segments and
	// stopped before it moved the position; nil for none. They are preferred to fresh: that tenure may
	// have known of records that the drain had acknowledged out of order, and nobody else does.
	resumed *schema.PendingGaps
}

// newAbandoning returns an abandoning of the segments after from.
func newAbandoning(note *bus.GapNote, from uint64) *abandoning {
	a := &abandoning{note: note}
	if p := note.Pending; p != nil && p.From == from {
		a.resumed = &schema.PendingGaps{Gaps: slices.Clone(p.Gaps)}
	}
	return a
}

// add adds the gap of a record in the segment with a sequence.
func (a *abandoning) add(sequence uint64, g schema.Gap) {
	a.fresh.Add(g)
	if a.resumed != nil && sequence > a.note.Pending.Until {
		a.resumed.Add(g)
	}
}

// finish returns the note with the pending gaps of the segments up to last, and the number of
// missing records.
func (a *abandoning) finish(last uint64) (note *bus.GapNote, records uint64) {
	if a.resumed != nil && a.note.Pending.Until <= last {
		a.fresh = *a.resumed
	}
	for _, g := range a.fresh.Gaps {
		records += g.Last - g.First + 1
	}
	a.note.Pending = &a.fresh
	return a.note, records
}

// abandon moves the position to last, past segments that the drain never gets. The notes' pending
// gaps are durable before the move, which commits them all in one write: a worker that stops before
// it leaves gaps that do not count.
func (w *worker) abandon(ctx context.Context, lease *bus.Lease, last uint64, notes []*bus.GapNote) error {
	for _, n := range notes {
		n.Pending.Epoch, n.Pending.From, n.Pending.Until = lease.Epoch(), w.reached(lease), last
		if err := w.saveGaps(ctx, n); err != nil {
			return err
		}
	}
	if err := lease.Abandon(ctx, last); err != nil {
		return err
	}
	w.delivered.Store(last)
	w.passed(last)
	for _, n := range notes {
		before := len(n.Gaps)
		n.Commit()
		w.series.gaps.Add(float64(len(n.Gaps) - before))
		if err := w.saveGaps(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// gapsOf returns the note of an operation, settled.
func (w *worker) gapsOf(ctx context.Context, lease *bus.Lease, op *schema.Operation) (*bus.GapNote, error) {
	n, _, err := w.bus.OperationGaps(ctx, w.drain.Name, w.partition, op.ID)
	if err != nil {
		return nil, err
	}
	n.Operation = op
	return &n, settle(&n, lease)
}

// gapNotes returns the notes with gaps that the drain has not been sent, settled.
func (w *worker) gapNotes(ctx context.Context, lease *bus.Lease) (notes []*bus.GapNote, err error) {
	all, err := w.bus.Gaps(ctx, w.drain.Name, w.partition)
	if err != nil {
		return nil, err
	}
	for i := range all {
		n := &all[i]
		if err := settle(n, lease); err != nil {
			return nil, err
		}
		switch {
		case len(n.Gaps) > 0:
			notes = append(notes, n)
		case n.Pending == nil:
			if err := w.saveGaps(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	return notes, nil
}

// settle decides about pending gaps by the position: those that it committed count, and those of
// segments that it has passed otherwise never will, since they were delivered or examined again. It
// fails with [bus.ErrLeaseLost] where a later tenure wrote them.
func settle(n *bus.GapNote, lease *bus.Lease) error {
	p, at := n.Pending, lease.Progress()
	switch {
	case p == nil:
	case p.Epoch > lease.Epoch():
		return bus.ErrLeaseLost
	case at.Abandoned.Committed(p.Epoch, p.Until):
		n.Commit()
	case p.Until <= at.Reached:
		n.Pending = nil
	}
	return nil
}

// saveGaps writes a note, or deletes it where nothing is left in it.
func (w *worker) saveGaps(ctx context.Context, n *bus.GapNote) error {
	if len(n.Gaps) == 0 && n.Pending == nil {
		return w.bus.DeleteGaps(ctx, w.drain.Name, w.partition, n)
	}
	return w.bus.SaveGaps(ctx, w.drain.Name, w.partition, n)
}
