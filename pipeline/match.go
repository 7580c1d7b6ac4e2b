package pipeline

import (
	"context"
	"errors"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// matchText is the form in which the worker's filters stand beside the position.
func (w *worker) matchText() string { return strings.Join(w.filters, ",") }

// match notes by which filters the worker reads from now on. The position is where the drain stood
// by those before: what came behind it was not for the drain then. So where nothing waits by the
// old filters, the position moves to where the stream ended when they were replaced, and the new
// ones hold for what comes. Where something waits in this partition, they hold for that too, and
// for what is among it.
func (w *worker) match(ctx context.Context, lease *bus.Lease) error {
	p := lease.Progress()
	if p.Match == w.matchText() {
		return nil
	}
	before := p.Match
	p.Match = w.matchText()
	if before == "" { // of a version that noted none
		// Without room for it, delivery goes on all the same.
		if err := lease.SaveProgress(ctx, p); !errors.Is(err, bus.ErrFull) {
			return err
		}
		return nil
	}
	caughtUp, err := w.bus.CaughtUp(ctx, schema.StreamLogs, strings.Split(before, ","), p.Sequence, w.since)
	if err != nil {
		return err
	}
	if caughtUp && w.since > p.Sequence {
		p.Sequence, p.Reached = w.since, max(p.Reached, w.since)
		if safe := w.keep.safeAt(w.made); safe.After(p.Safe) {
			p.Safe = safe
		}
	}
	// Without room for it nothing is delivered: later it could not be told any more what was for the
	// drain.
	if err := lease.SaveProgress(ctx, p); err != nil {
		return err
	}
	w.delivered.Store(p.Sequence)
	w.log.Info("the drain has another match", "match", p.Match, "before", before, "from_the_next_record_on", caughtUp)
	return nil
}
