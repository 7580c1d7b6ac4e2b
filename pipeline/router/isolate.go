package router

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// refusedAlone handles the first of the entries left, which the drain refused alone. The entry
// becomes a dead letter when it was refused often enough, and the drain accepted others in between.
// If the drain did not, a probe record finds out whether it accepts anything; if not, the delivery
// waits, and lets others try.
func (d *delivery) refusedAlone(ctx context.Context, left []sinks.Entry, why sinks.Item, failed *sinks.Error, overdue bool) ([]sinks.Entry, error) {
	s, proof := &d.suspicion, d.to.quota.proof
	temporary := why.Verdict == sinks.Retry
	count, _ := proof.get()
	spare := s.run && proof.spare(time.Now())
	mayGiveUp := proof.mayGiveUp()
	if mayGiveUp && (count > s.seen || spare) {
		s.seen = count
		if s.alone++; spare || s.alone >= refusals(why.Verdict) {
			if err := d.to.deadLetter(ctx, left[0], deadLetterReason(why)); err != nil {
				return left, err
			}
			s.removed()
			return left[1:], nil
		}
		if temporary {
			d.backOff(ctx, failed, d.to.fast, failed.RetryAfter, maxWait)
		}
		return left, causeOf(ctx)
	}
	var probed error
	if mayGiveUp && (!temporary || s.times >= probeAfter) {
		probed = d.probe(ctx, left[0].Operation)
		if probed != nil && proof.mayBlameOperation() && ctx.Err() == nil {
			probed = d.probe(ctx, nil)
		}
		if probed == nil {
			proof.accepted(time.Now(), false)
			d.recovered()
			return left, causeOf(ctx)
		}
	}
	if ctx.Err() != nil {
		return left, context.Cause(ctx)
	}
	waits := d.to.fast
	if temporary {
		d.to.status.fail(schema.DrainRetrying, failed)
	} else {
		waits = d.to.slow
		d.misconfigured(why.Message(), why.Status, refusesEverything(why, failed, probed))
	}
	if overdue {
		return left, errRetentionDeadline
	}
	d.waitParked(ctx, failed, waits, failed.RetryAfter)
	return left, causeOf(ctx)
}

// refusesEverything returns the error of a drain that refuses a record, and all others too.
func refusesEverything(why sinks.Item, failed *sinks.Error, probed error) error {
	if why.Verdict == sinks.Misconfigured {
		return failed
	}
	also := "a probe record"
	if probed == nil { // it accepts those, and no others
		also = "every other record of a session"
	}
	return fmt.Errorf("%w (it refuses %s too, so the settings are the cause: no record becomes a dead letter)", failed, also)
}

// deadLetterReason returns the reason of a dead letter. The advice for an answer such as 401 would
// mislead, since the drain accepts other records with the same settings.
func deadLetterReason(why sinks.Item) sinks.Item {
	if why.Verdict == sinks.Rejected || why.Verdict == sinks.TooLarge {
		return why
	}
	what := "breaks the connection, or does not answer in time,"
	if why.Status != 0 {
		what = "answers " + strconv.Itoa(why.Status) + " " + http.StatusText(why.Status)
	}
	why.Reason = "the drain " + what + " for this record alone and accepts others with the same settings"
	why.Advice = "look into the log of what stands before it, such as a web application firewall, which refuses what the record holds"
	return why
}

// probe writes a record that belongs to no session: see probeRecord.
func (d *delivery) probe(ctx context.Context, like *schema.Operation) error {
	entry := drain.ProbeRecord(d.to.target.drain.Name, like, time.Now())
	return d.write(ctx, []sinks.Entry{entry})
}

// waitParked waits before the next attempt to write a record that the drain refuses. Batches of
// other operations are written meanwhile: when the drain accepts one, the wait is over.
func (d *delivery) waitParked(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast time.Duration) {
	wait, ok := d.nextWait(ctx, err, waits, atLeast, maxWait)
	if !ok {
		return
	}
	_, changed := d.to.quota.proof.get()
	if d.park != nil {
		d.releaseProbe()
		d.park(ctx, true)
		defer d.park(ctx, false)
	}
	defer d.to.status.retryAt(time.Now().Add(wait))()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// deadLetter stores a record that the drain will never accept.
func (d *deliverer) deadLetter(ctx context.Context, e sinks.Entry, why sinks.Item) error {
	t := d.target
	t.log.Error("the drain refuses a record, which becomes a dead letter", "operation", e.Operation.ID,
		"sequence", e.Record.Sequence, "reason", why.Message(), "status", why.Status)
	letter, err := schema.NewDeadLetter(t.drain.Name, why.Message(), why.Status, time.Now(), e.Operation, e.Record)
	if err != nil {
		return err
	}
	// If there is no space for it the delivery waits here: a part of its batch is delivered.
	waits := newBackOff(minRetry, maxRetry)
	for err = t.bus.PublishDeadLetter(ctx, letter); errors.Is(err, bus.ErrFull); err = t.bus.PublishDeadLetter(ctx, letter) {
		d.status.fail(schema.DrainRetrying, err)
		wait := waits.NextBackOff()
		t.log.Error("no space for a dead letter: delivery waits", "error", err, "wait", wait, "advice", "discard dead letters, or free disk space")
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	t.series.deadLettered.Inc()
	d.quota.proof.gaveUp(time.Now())
	d.status.note("a record became a dead letter: " + why.Message())
	d.status.recover()
	return nil
}
