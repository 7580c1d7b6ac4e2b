package pipeline

import (
	"context"
	"errors"
	"net/http/httptrace"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A delivery is a batch on its way to the drain. It is for one goroutine; several can be under way.
type delivery struct {
	*worker
	span *tracing.Span // nil for none
	due  time.Time     // when the first of the batch is to be given up; zero: there is no hurry
	has  bool          // the turn to try a drain that fails
}

// deliver writes a batch until every entry of it is at the drain, or a dead letter. Otherwise left are the entries of which
// that is not known, in their order, and the error is that of ctx, or of the bus, or errOverdue where a try failed that
// was made when it was due, or later. end follows.
func (d *delivery) deliver(ctx context.Context, batch []sinks.Entry) (left []sinks.Entry, err error) {
	for len(batch) > 0 {
		d.await(ctx)
		if ctx.Err() != nil {
			return batch, context.Cause(ctx)
		}
		overdue := !d.due.IsZero() && !time.Now().Before(d.due)
		err := d.write(ctx, batch)
		if err == nil {
			d.succeeded(len(batch))
			return nil, nil
		}
		failed := sinks.AsError(err)
		left := undelivered(batch, failed)
		d.count(len(batch) - len(left))
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		switch item := worst(failed); acknowledge(item.Verdict, len(left)) {
		case actHalve:
			middle := len(left) / 2
			if first, err := d.deliver(ctx, left[:middle]); err != nil {
				return slices.Concat(first, left[middle:]), err
			}
			left = left[middle:]
		case actDeadLetter:
			if err := d.deadLetter(ctx, left[0], item); err != nil {
				return left, err
			}
			left = left[1:]
		case actRetry:
			d.state.fail(schema.DrainRetrying, err)
			if overdue {
				return left, errOverdue
			}
			d.failed(ctx, err, d.fast, failed.RetryAfter)
		case actRetrySlow:
			d.log.Error("the drain refuses everything until its settings are changed", "reason", item.Reason, "status", item.Status)
			d.state.fail(schema.DrainMisconfigured, err)
			if overdue {
				return left, errOverdue
			}
			d.failed(ctx, err, d.slow, failed.RetryAfter)
		case actStop:
			d.state.fail(schema.DrainGone, err)
			return left, d.gone(ctx, item)
		}
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		batch = left
	}
	return nil, nil
}

// await waits for the turn to try the drain, if that fails: one delivery at a time does so. It ends when that one has got through,
// and when the batch is due, too.
func (d *delivery) await(ctx context.Context) {
	if d.has || !d.failing.Load() {
		return
	}
	var due <-chan time.Time
	if !d.due.IsZero() {
		timer := time.NewTimer(time.Until(d.due))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-d.turn:
		if d.has = true; !d.failing.Load() {
			d.end()
		}
	case <-due:
	case <-ctx.Done():
	}
}

// end gives the turn back.
func (d *delivery) end() {
	if d.has {
		d.has = false
		d.turn <- struct{}{}
	}
}

// write writes a batch once. One that hangs is given up while there is still time to say what is missing.
func (d *delivery) write(ctx context.Context, batch []sinks.Entry) error {
	if !d.due.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, d.keep.abortAfter(d.due), errOverdue)
		defer cancel()
	}
	defer d.takeProcessor(ctx)()
	defer measure.Since(d.series.write, time.Now())
	ctx, try := d.span.Try(httptrace.WithClientTrace(ctx, d.series.hooks))
	err := d.sink.Write(ctx, batch)
	if err != nil {
		try.End(sinks.AsError(err).Verdict.String())
		return err
	}
	try.End(tracing.OK)
	return nil
}

// undelivered gives the entries of a batch that are not at the drain, in their order.
func undelivered(batch []sinks.Entry, e *sinks.Error) []sinks.Entry {
	if len(e.Items) == 0 {
		return batch
	}
	left := make([]sinks.Entry, len(e.Items))
	for i, item := range e.Items {
		left[i] = batch[item.Index]
	}
	return left
}

// worst gives the item that decides what is done with all that is left. Entries stay in order, so a refused one
// comes before all others: once it is out of the way, the rest is written again and gets its own verdict.
func worst(e *sinks.Error) sinks.Item {
	first := sinks.Item{Verdict: e.Verdict, Status: e.Status, Reason: e.Error()}
	rank := [...]int{sinks.Retry: 1, sinks.Gone: 2, sinks.Misconfigured: 2, sinks.TooLarge: 3, sinks.Rejected: 3}
	for i, item := range e.Items {
		if i == 0 || rank[item.Verdict] > rank[first.Verdict] {
			first = item
		}
	}
	return first
}

func (d *delivery) succeeded(n int) {
	d.count(n)
	d.state.recover()
	if d.failing.Swap(false) {
		d.log.Info("the drain takes records again")
	}
	d.end()
}

// count counts records that the drain has.
func (w *worker) count(n int) {
	w.series.delivered.Add(float64(n))
	w.state.confirmed.Add(uint64(n))
}

// failed waits before the next try, but not for longer than until it is due.
func (d *delivery) failed(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast time.Duration) {
	first := !d.failing.Swap(true)
	d.series.retries.Inc()
	d.await(ctx)
	if !d.has {
		return
	}
	if first {
		d.fast.Reset()
		d.slow.Reset()
	}
	wait := max(waits.NextBackOff(), atLeast)
	d.log.Warn("the drain did not take a batch, which is written again", "error", err, "wait", wait)
	if !d.due.IsZero() {
		wait = min(wait, max(0, time.Until(d.due)))
	}
	d.wait(ctx, wait)
}

// deadLetter keeps a record that the drain will never take.
func (w *worker) deadLetter(ctx context.Context, e sinks.Entry, why sinks.Item) error {
	w.log.Error("the drain will never take a record, which is now a dead letter", "operation", e.Operation.ID,
		"sequence", e.Record.Sequence, "reason", why.Reason, "status", why.Status)
	letter, err := schema.NewDeadLetter(w.drain.Name, why.Reason, why.Status, time.Now(), e.Operation, e.Record)
	if err != nil {
		return err
	}
	// Without room for it the delivery waits here: part of the batch that it is of is delivered.
	waits := newBackOff(retryFirst, retryMost)
	for err = w.bus.PublishDeadLetter(ctx, letter); errors.Is(err, bus.ErrFull); err = w.bus.PublishDeadLetter(ctx, letter) {
		w.state.fail(schema.DrainRetrying, err)
		wait := waits.NextBackOff()
		w.log.Error("a dead letter can't be kept, and the drain waits: discard others, or make room", "error", err, "wait", wait)
		w.wait(ctx, wait)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	w.series.deadLettered.Inc()
	w.state.recover()
	return nil
}
