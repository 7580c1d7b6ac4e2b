package router

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A position is a worker's progress on LOGS: the segments that are delivered, and the records that
// the drain has acknowledged ahead of them. It is saved under the worker's lease. Except for
// delivered, only the goroutine of the worker uses it.
type position struct {
	target *target
	lease  *bus.Lease // of the current tenure; set by open
	// start is the end of LOGS when the worker was created, by the clock at created; 0 if unknown.
	start   uint64
	created time.Time

	delivered atomic.Uint64 // sequence on LOGS up to which everything is delivered

	// What the drain has acknowledged after delivered, as far as that is known. It is not sent again.
	ahead     map[uint64]int         // by sequence of the segment, the number of its first records
	confirmed map[recordKey]struct{} // other records
}

// A recordKey identifies a record.
type recordKey struct {
	operation string
	sequence  uint64
}

func keyOf(e sinks.Entry) recordKey { return recordKey{e.Operation.ID, e.Record.Sequence} }

func newPosition(t *target) *position {
	return &position{target: t, ahead: make(map[uint64]int), confirmed: make(map[recordKey]struct{})}
}

// open loads the position that was saved under a lease. created reports whether there was none.
//
// A new drain starts with what the stream has, except for segments that are about to be removed and
// may come too late. They are not missing: they were there before the drain.
func (p *position) open(ctx context.Context, lease *bus.Lease) (created bool, err error) {
	p.lease = lease
	if p.delivered.Load() != lease.Position() { // another process has moved it
		clear(p.confirmed)
	}
	p.delivered.Store(lease.Position())
	progress := lease.Progress()
	clear(p.ahead)
	for _, part := range progress.DeliveredAhead {
		p.ahead[part.Sequence] = part.Records
	}
	if !reflect.DeepEqual(progress, bus.Progress{}) {
		return false, nil
	}
	before := p.target.retention.abandonBefore(time.Now())
	progress.Match = p.filterText()
	if progress.Reached, err = p.target.bus.BeforeTime(ctx, before); err != nil {
		return true, err
	}
	progress.Safe = p.target.retention.safeUntil(before)
	return true, ignoreFull(lease.SaveProgress(ctx, progress))
}

// ignoreFull returns the error of saving a position, except for a lack of space: delivery goes on
// then, and a restart repeats everything after the last saved position.
func ignoreFull(err error) error {
	if errors.Is(err, bus.ErrFull) {
		return nil
	}
	return err
}

// filterText returns the form in which the filters are saved with the position.
func (p *position) filterText() string { return strings.Join(p.target.filters, ",") }

// updateMatch saves the filters by which the worker reads from now on.
//
// The position was reached with the old filters: later segments that did not match them were not
// for the drain. So if no segment that matches the old filters is undelivered, the position moves
// to the end of the stream when they were replaced, and the new ones apply to later segments. If a
// segment of this partition is undelivered, the new filters apply to all segments after it.
func (p *position) updateMatch(ctx context.Context) error {
	t, progress := p.target, p.lease.Progress()
	before := progress.Match
	if before == p.filterText() {
		return nil
	}
	progress.Match = p.filterText()
	if before == "" { // saved by a version that did not record its filters
		return ignoreFull(p.lease.SaveProgress(ctx, progress))
	}
	caughtUp, err := t.bus.CaughtUp(ctx, schema.StreamLogs, strings.Split(before, ","), progress.Sequence, p.start)
	if err != nil {
		return err
	}
	if caughtUp && p.start > progress.Sequence {
		progress.Sequence, progress.Reached = p.start, max(progress.Reached, p.start)
		if safe := t.retention.safeUntil(p.created); safe.After(progress.Safe) {
			progress.Safe = safe
		}
	}
	// Nothing is delivered until this is saved: otherwise it would be unknown later which segments
	// were for the drain.
	if err := p.lease.SaveProgress(ctx, progress); err != nil {
		return err
	}
	p.delivered.Store(progress.Sequence)
	t.log.Info("the drain's match has changed", "match", progress.Match, "before", before, "caught_up", caughtUp)
	return nil
}

// reached returns the highest sequence up to which everything was ever delivered.
func (p *position) reached() uint64 { return max(p.lease.Progress().Reached, p.delivered.Load()) }

// deadline returns the retention deadline of the oldest segment that was never delivered or, if
// there is none, that of a segment published now.
func (p *position) deadline(ctx context.Context, now time.Time) (time.Time, error) {
	t := p.target
	first, ok, err := t.bus.First(ctx, schema.StreamLogs, t.filters, p.reached())
	if err != nil {
		return time.Time{}, err
	}
	if !ok {
		return t.retention.deadline(now), nil
	}
	return t.retention.deadline(first.Time), nil
}

// save saves the position, with the time until which the stream keeps everything after it.
func (p *position) save(ctx context.Context, safe time.Time) error {
	progress := p.lease.Progress()
	moved := p.delivered.Load() != progress.Sequence
	if !moved && safe.Sub(progress.Safe) < p.target.retention.saveInterval() && len(p.ahead)+len(progress.DeliveredAhead) == 0 {
		return nil
	}
	progress.DeliveredAhead = nil
	for _, sequence := range slices.Sorted(maps.Keys(p.ahead)) {
		progress.DeliveredAhead = append(progress.DeliveredAhead, bus.Part{Sequence: sequence, Records: p.ahead[sequence]})
	}
	progress.Sequence = p.delivered.Load()
	progress.Reached, progress.Safe = max(progress.Reached, progress.Sequence), safe
	return ignoreFull(p.lease.SaveProgress(ctx, progress))
}

// move moves the position forward to a segment, without saving it.
func (p *position) move(sequence uint64) {
	p.delivered.Store(sequence)
	if len(p.ahead) > 0 {
		maps.DeleteFunc(p.ahead, func(s uint64, _ int) bool { return s <= sequence })
	}
}

// abandon moves the position past segments that the drain never receives, and commits their pending
// gaps in the same write.
func (p *position) abandon(ctx context.Context, last uint64) error {
	if err := p.lease.Abandon(ctx, last); err != nil {
		return err
	}
	p.move(last)
	return nil
}

// rewind moves the position to where an operator wants it, but not past segments that were never
// delivered.
func (p *position) rewind(ctx context.Context, r *schema.Rewind) error {
	to := min(r.After, p.reached())
	if to == p.lease.Position() { // segments delivered ahead of it are not repeated
		progress := p.lease.Progress()
		progress.Rewind = r.ID
		return p.lease.SaveProgress(ctx, progress)
	}
	if err := p.lease.Rewind(ctx, &schema.Rewind{ID: r.ID, After: to}); err != nil {
		return err
	}
	p.delivered.Store(to)
	clear(p.ahead)
	p.target.log.Info("the drain was rewound", "after", to)
	return nil
}

// mark records which entries of a batch the drain has acknowledged although some are left: they are
// not missing if the others are abandoned.
func (p *position) mark(batch, left []sinks.Entry) {
	if len(left) == 0 {
		return
	}
	i := 0
	for _, e := range batch {
		if i < len(left) && left[i] == e {
			i++
			continue
		}
		p.confirmed[keyOf(e)] = struct{}{}
	}
}

// unmark removes the marks of a batch that was delivered as a whole.
func (p *position) unmark(batch []sinks.Entry) {
	if len(p.confirmed) == 0 {
		return
	}
	for _, e := range batch {
		delete(p.confirmed, keyOf(e))
	}
}
