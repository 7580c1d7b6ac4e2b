package pipeline

import (
	"context"
	"errors"
	"net/http/httptrace"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// deliver writes a batch until every entry of it is at the drain, or a dead letter. Otherwise left are the entries of which
// that is not known, in their order, and the error is that of ctx, or of the bus, or errOverdue where a try failed that
// was made when it was due, or later (zero: there is no hurry).
func (w *worker) deliver(ctx context.Context, batch []sinks.Entry, due time.Time) (left []sinks.Entry, err error) {
	for len(batch) > 0 {
		overdue := !due.IsZero() && !time.Now().Before(due)
		err := w.write(ctx, batch, due)
		if err == nil {
			w.succeeded(len(batch))
			return nil, nil
		}
		failed := sinks.AsError(err)
		left := undelivered(batch, failed)
		w.count(len(batch) - len(left))
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		switch item := worst(failed); acknowledge(item.Verdict, len(left)) {
		case actHalve:
			middle := len(left) / 2
			if first, err := w.deliver(ctx, left[:middle], due); err != nil {
				return slices.Concat(first, left[middle:]), err
			}
			left = left[middle:]
		case actDeadLetter:
			if err := w.deadLetter(ctx, left[0], item); err != nil {
				return left, err
			}
			left = left[1:]
		case actRetry:
			w.state.fail(schema.DrainRetrying, err)
			if overdue {
				return left, errOverdue
			}
			w.failed(ctx, err, max(w.fast.NextBackOff(), failed.RetryAfter), due)
		case actRetrySlow:
			w.log.Error("the drain refuses everything until its settings are changed", "reason", item.Reason, "status", item.Status)
			w.state.fail(schema.DrainMisconfigured, err)
			if overdue {
				return left, errOverdue
			}
			w.failed(ctx, err, max(w.slow.NextBackOff(), failed.RetryAfter), due)
		case actStop:
			w.state.fail(schema.DrainGone, err)
			return left, w.gone(ctx, item)
		}
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		batch = left
	}
	return nil, nil
}

// write writes a batch once. One that hangs is given up while there is still time to say what is missing.
func (w *worker) write(ctx context.Context, batch []sinks.Entry, due time.Time) error {
	if !due.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, w.keep.abortAfter(due), errOverdue)
		defer cancel()
	}
	defer measure.Since(w.series.write, time.Now())
	ctx, try := w.span.Try(httptrace.WithClientTrace(ctx, w.series.hooks))
	err := w.sink.Write(ctx, batch)
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

func (w *worker) succeeded(n int) {
	w.count(n)
	w.fast.Reset()
	w.slow.Reset()
	w.state.recover()
	if w.failing.Swap(false) {
		w.log.Info("the drain takes records again")
	}
}

// count counts records that the drain has.
func (w *worker) count(n int) {
	w.series.delivered.Add(float64(n))
	w.state.confirmed.Add(uint64(n))
}

// failed waits before the next try, but not for longer than until it is due.
func (w *worker) failed(ctx context.Context, err error, wait time.Duration, due time.Time) {
	w.failing.Store(true)
	w.series.retries.Inc()
	w.log.Warn("the drain did not take a batch, which is written again", "error", err, "wait", wait)
	if !due.IsZero() {
		wait = min(wait, max(0, time.Until(due)))
	}
	w.wait(ctx, wait)
}

// deadLetter keeps a record that the drain will never take.
func (w *worker) deadLetter(ctx context.Context, e sinks.Entry, why sinks.Item) error {
	w.log.Error("the drain will never take a record, which is now a dead letter", "operation", e.Operation.ID,
		"sequence", e.Record.Sequence, "reason", why.Reason, "status", why.Status)
	letter, err := schema.NewDeadLetter(w.drain.Name, why.Reason, why.Status, time.Now(), e.Operation, e.Record)
	if err != nil {
		return err
	}
	// Without room for it the drain waits here: part of the batch that it is of is delivered.
	for err = w.bus.PublishDeadLetter(ctx, letter); errors.Is(err, bus.ErrFull); err = w.bus.PublishDeadLetter(ctx, letter) {
		w.state.fail(schema.DrainRetrying, err)
		wait := w.fast.NextBackOff()
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
