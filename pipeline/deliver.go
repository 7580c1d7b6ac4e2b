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

// A delivery is a batch on its way to the drain. It is for one goroutine; several can be in flight.
type delivery struct {
	*worker
	span *tracing.Span // nil for none
	due  time.Time     // when the first of the batch is to be given up; zero: there is no hurry
	has  bool          // the turn to try a drain that fails
	// park is called with true before the delivery waits for a drain that refuses a record, so that
	// other operations' batches are written meanwhile, and with false afterwards. Nil where there
	// are no others.
	park func(ctx context.Context, parked bool)

	suspicion suspicion
	seen      uint64 // how many writes the drain had accepted when the last one began
}

// deliver writes a batch until every entry of it is at the drain, or a dead letter. Otherwise left
// are the entries of which that is not known, in their order, and the error is that of ctx, or of
// the bus, or errOverdue where a try failed that was made when it was due, or later. end follows.
func (d *delivery) deliver(ctx context.Context, batch []sinks.Entry) (left []sinks.Entry, err error) {
	left = batch
	d.await(ctx)
	if d.has { // the drain fails, so that one record finds out as much as many
		d.suspicion.part = 1
	}
	for len(left) > 0 {
		d.await(ctx)
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		overdue := !d.due.IsZero() && !time.Now().Before(d.due)
		n := d.suspicion.size(d.share.pace.fit(left))
		began := time.Now()
		d.seen, _ = d.share.proof.get()
		err := d.write(ctx, left[:n])
		if err == nil {
			d.share.pace.accepted(weighAll(left[:n]), time.Since(began), time.Now())
			d.succeeded(n)
			if tooLarge := d.suspicion.passed(n); tooLarge > 0 {
				d.share.pace.tooLarge(tooLarge, time.Now())
			}
			left = left[n:]
			continue
		}
		failed := sinks.AsError(err)
		missing := undelivered(left[:n], failed)
		confirmed := n - len(missing)
		if confirmed > 0 {
			d.count(confirmed)
			d.share.proof.accepted(time.Now(), true)
			d.suspicion.passed(confirmed)
		}
		if ctx.Err() == nil && timedOut(failed) {
			d.share.pace.timedOut(weighAll(left[:n]), weighAll(left[:n])-weighAll(missing))
		}
		if confirmed > 0 {
			left = slices.Concat(missing, left[n:])
		}
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		if left, err = d.react(ctx, left, confirmed, len(missing), failed, overdue); err != nil {
			return left, err
		}
	}
	return nil, nil
}

// settle has the sink deliver again what it has found out to be lost, until the drain has it.
func (d *delivery) settle(ctx context.Context) {
	for lost := false; ; lost = true {
		d.await(ctx)
		if ctx.Err() != nil {
			return
		}
		err := d.sink.Write(ctx, nil)
		switch {
		case err == nil && lost:
			d.works()
			return
		case err == nil, ctx.Err() != nil:
			return
		}
		failed := sinks.AsError(err)
		if failed.Verdict == sinks.Misconfigured {
			d.misconfigured(failed.Reason, failed.Status, err)
			d.failed(ctx, err, d.slow, failed.RetryAfter, maxWait)
			continue
		}
		d.state.fail(schema.DrainRetrying, err)
		d.failed(ctx, err, d.fast, failed.RetryAfter, maxWait)
	}
}

// timedOut reports whether the drain did not confirm entries in time.
func timedOut(e *sinks.Error) bool {
	return e.TimedOut > 0 || e.Status == 0 && errors.Is(e, context.DeadlineExceeded)
}

// react does what a failed write leads to, of which the drain confirmed some entries. left begins
// with those n that it did not.
func (d *delivery) react(ctx context.Context, left []sinks.Entry, confirmed, n int, failed *sinks.Error, overdue bool) ([]sinks.Entry, error) {
	item := worst(failed)
	act := acknowledge(failed, item)
	if act != actIsolate && act != actStop && overdue {
		d.state.fail(stateOf(act), failed)
		return left, errOverdue
	}
	switch act {
	case actStop:
		d.state.fail(schema.DrainGone, failed)
		return left, d.gone(ctx, item)
	case actRetrySlow:
		d.misconfigured(item.Reason, item.Status, failed)
		d.failed(ctx, failed, d.slow, failed.RetryAfter, maxWait)
	case actRetry, actSuspect:
		if timedOut(failed) && confirmed > 0 { // a slow drain took a part: the rest follows at its pace
			d.works()
			break
		}
		d.state.fail(schema.DrainRetrying, failed)
		atMost := maxWait
		if act == actSuspect {
			alone := d.suspicion.fail(left[:refused(failed, n)], d.seen, timedOut(failed))
			switch {
			case d.suspicion.times <= suspectAfter:
			case alone:
				return d.alone(ctx, left, item, failed, overdue)
			default:
				atMost = partsWait
			}
		}
		d.failed(ctx, failed, d.fast, failed.RetryAfter, atMost)
	case actIsolate:
		if d.suspicion.fail(left[:refused(failed, n)], d.seen, true) {
			return d.alone(ctx, left, item, failed, overdue)
		}
		d.series.retries.Inc()
	}
	return left, causeOf(ctx)
}

// stateOf is the state of a drain while an action waits.
func stateOf(act action) string {
	if act == actRetrySlow || act == actIsolate {
		return schema.DrainMisconfigured
	}
	return schema.DrainRetrying
}

// misconfigured reports that the drain refuses everything.
func (d *delivery) misconfigured(reason string, status int, err error) {
	d.log.Error("the drain refuses everything until its settings are changed", "reason", reason, "status", status)
	d.state.fail(schema.DrainMisconfigured, err)
}

// refused returns how many of n entries, from the first that was not delivered on, hold all those
// that a failed write refused; those behind them were not sent.
func refused(e *sinks.Error, n int) int {
	if len(e.Items) == 0 {
		if e.TimedOut > 0 {
			return min(n, e.TimedOut)
		}
		return n
	}
	last := 0
	for i, item := range e.Items {
		if !item.Unsent {
			last = i + 1
		}
	}
	return max(1, last)
}

// await waits for the turn to try the drain, if that fails: one delivery at a time does so. It ends
// when that one has got through, and when the batch is due, too.
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

// write writes a batch once. One that hangs is given up while there is still time to say what is
// missing.
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

// worst gives the item that decides what is done with all that is left. Entries stay in order, so a
// refused one comes before all others: once it is out of the way, the rest is written again and
// gets its own verdict.
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
	d.share.proof.accepted(time.Now(), true)
	d.works()
}

// works notes that the drain accepts records.
func (d *delivery) works() {
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
func (d *delivery) failed(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast, atMost time.Duration) {
	if wait, ok := d.nextWait(ctx, err, waits, atLeast, atMost); ok {
		d.state.waits(d, time.Now().Add(wait))
		d.wait(ctx, wait)
		d.state.waits(d, time.Time{})
	}
}

// maxWait is more than any wait between two tries.
const maxWait = 2 * sinks.MaxRetryAfter

// nextWait takes the turn to try a drain that fails, and returns how long to wait before that: as
// waits has it, but no longer than atMost, and not less than atLeast, which is what the drain asked
// for. ok is false where it is not this delivery's turn.
func (d *delivery) nextWait(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast, atMost time.Duration) (wait time.Duration, ok bool) {
	first := !d.failing.Swap(true)
	d.series.retries.Inc()
	d.await(ctx)
	if !d.has {
		return 0, false
	}
	if first {
		d.fast.Reset()
		d.slow.Reset()
	}
	wait = max(min(waits.NextBackOff(), atMost), min(atLeast, sinks.MaxRetryAfter))
	d.log.Warn("the drain did not take a batch, which is written again", "error", err, "wait", wait)
	if !d.due.IsZero() {
		wait = min(wait, max(0, time.Until(d.due)))
	}
	return wait, true
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
	w.share.proof.gaveUp()
	w.state.note("a record became a dead letter: " + why.Reason)
	w.state.recover()
	return nil
}
