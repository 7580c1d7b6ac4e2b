package router

import (
	"context"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// Deliver writes a batch until every entry of it is delivered or a dead letter. Otherwise it
// returns the entries of which that is unknown, in their order, and the error: the cause of ctx,
// that of the bus, a [*goneError], or errRetentionDeadline after an attempt that failed at or after
// the deadline, which may be zero.
func (d *deliverer) Deliver(ctx context.Context, batch []sinks.Entry, deadline time.Time) (left []sinks.Entry, err error) {
	return d.newDelivery(deadline).run(ctx, batch)
}

// Settle has the sink redeliver entries that it has found to be lost after it had reported them as
// delivered, until the drain has them or ctx is done.
func (d *deliverer) Settle(ctx context.Context) { d.newDelivery(time.Time{}).settle(ctx) }

// run is [deliverer.Deliver].
func (d *delivery) run(ctx context.Context, batch []sinks.Entry) (left []sinks.Entry, err error) {
	defer d.releaseProbe()
	left = batch
	d.awaitProbe(ctx)
	if d.probing { // one record finds out as much as many
		d.suspicion.part = 1
	}
	pace, proof := d.to.quota.pace, d.to.quota.proof
	for len(left) > 0 {
		d.awaitProbe(ctx)
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		overdue := !d.deadline.IsZero() && !time.Now().Before(d.deadline)
		n := d.suspicion.size(pace.fit(left))
		began := time.Now()
		d.accepted, _ = proof.get()
		err := d.write(ctx, left[:n])
		if err == nil {
			pace.accepted(weighAll(left[:n]), time.Since(began), time.Now())
			d.succeeded(n)
			if tooLarge := d.suspicion.passed(n); tooLarge > 0 {
				pace.tooLarge(tooLarge, time.Now())
			}
			left = left[n:]
			continue
		}
		failed := sinks.AsError(err)
		missing := undelivered(left[:n], failed)
		confirmed := n - len(missing)
		if confirmed > 0 {
			d.to.status.addDelivered(confirmed)
			proof.accepted(time.Now(), true)
			d.suspicion.passed(confirmed)
		}
		if ctx.Err() == nil && timedOut(failed) {
			pace.timedOut(weighAll(left[:n]), weighAll(left[:n])-weighAll(missing))
		}
		if confirmed > 0 {
			left = slices.Concat(missing, left[n:])
		}
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		if left, err = d.handleFailure(ctx, left, confirmed, len(missing), failed, overdue); err != nil {
			return left, err
		}
	}
	return nil, nil
}

// settle is [deliverer.Settle].
func (d *delivery) settle(ctx context.Context) {
	defer d.releaseProbe()
	for lost := false; ; lost = true {
		d.awaitProbe(ctx)
		if ctx.Err() != nil {
			return
		}
		err := d.to.sink.Write(ctx, nil)
		switch {
		case err == nil && lost:
			d.recovered()
			return
		case err == nil, ctx.Err() != nil:
			return
		}
		failed := sinks.AsError(err)
		if failed.Verdict == sinks.Misconfigured {
			d.misconfigured(failed.Message(), failed.Status, err)
			d.backOff(ctx, err, d.to.slow, failed.RetryAfter, maxWait)
			continue
		}
		d.to.status.fail(schema.DrainRetrying, err)
		d.backOff(ctx, err, d.to.fast, failed.RetryAfter, maxWait)
	}
}

// handleFailure takes the action for a failed write, of which the drain acknowledged some entries.
// left begins with the n entries that it did not.
func (d *delivery) handleFailure(ctx context.Context, left []sinks.Entry, confirmed, n int, failed *sinks.Error, overdue bool) ([]sinks.Entry, error) {
	item := decisive(failed)
	act := actionFor(failed, item)
	if act != actIsolate && act != actStop && overdue {
		d.to.status.fail(act.state(), failed)
		return left, errRetentionDeadline
	}
	switch act {
	case actStop:
		d.to.status.fail(schema.DrainGone, failed)
		d.to.status.failing.Store(true)
		return left, &goneError{item}
	case actRetrySlow:
		d.misconfigured(item.Message(), item.Status, failed)
		d.backOff(ctx, failed, d.to.slow, failed.RetryAfter, maxWait)
	case actRetry, actSuspect:
		if timedOut(failed) && confirmed > 0 { // a slow drain accepted a part: the rest follows at its pace
			d.recovered()
			break
		}
		d.to.status.fail(schema.DrainRetrying, failed)
		atMost := maxWait
		if act == actSuspect {
			alone := d.suspicion.fail(left[:refused(failed, n)], d.accepted, timedOut(failed))
			switch {
			case d.suspicion.times <= suspectAfter:
			case alone:
				return d.refusedAlone(ctx, left, item, failed, overdue)
			default:
				atMost = partsWait
			}
		}
		d.backOff(ctx, failed, d.to.fast, failed.RetryAfter, atMost)
	case actIsolate:
		if d.suspicion.fail(left[:refused(failed, n)], d.accepted, true) {
			return d.refusedAlone(ctx, left, item, failed, overdue)
		}
		d.to.target.series.retries.Inc()
	}
	return left, causeOf(ctx)
}
