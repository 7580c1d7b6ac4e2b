package router

import (
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// A gapCollector collects the gaps of one operation while segments are abandoned.
type gapCollector struct {
	note  *bus.GapNote
	fresh schema.PendingGaps
	// resumed continues the pending gaps of an earlier tenure that examined the same segments and
	// stopped before it moved the position; nil for none. They take precedence over fresh: that tenure
	// may have known of records that the drain had acknowledged out of order, which are unknown now.
	resumed *schema.PendingGaps
}

// newGapCollector returns a collector for the segments after from.
func newGapCollector(note *bus.GapNote, from uint64) *gapCollector {
	c := &gapCollector{note: note}
	if p := note.Pending; p != nil && p.From == from {
		c.resumed = &schema.PendingGaps{Gaps: slices.Clone(p.Gaps)}
	}
	return c
}

// add adds the gap of a record in the segment with a sequence.
func (c *gapCollector) add(sequence uint64, g schema.Gap) {
	c.fresh.Add(g)
	if c.resumed != nil && sequence > c.note.Pending.Until {
		c.resumed.Add(g)
	}
}

// finish returns the note with the pending gaps of the segments up to last, and the number of
// missing records.
func (c *gapCollector) finish(last uint64) (note *bus.GapNote, records uint64) {
	if c.resumed != nil && c.note.Pending.Until <= last {
		c.fresh = *c.resumed
	}
	for _, g := range c.fresh.Gaps {
		records += g.Last - g.First + 1
	}
	c.note.Pending = &c.fresh
	return c.note, records
}

// settleGaps decides about pending gaps by the position: those that it committed count. Those of
// segments that it has passed otherwise are dropped, since these were delivered or examined again.
// It fails with [bus.ErrLeaseLost] if a later tenure wrote them.
func settleGaps(n *bus.GapNote, lease *bus.Lease) error {
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
