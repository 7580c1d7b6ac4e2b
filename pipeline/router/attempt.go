package router

import (
	"context"
	"errors"
	"net/http/httptrace"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// errRetentionDeadline is the cause with which delivery stops when segments have to be abandoned,
// since the stream is about to remove them.
var errRetentionDeadline = errors.New("the retention deadline of undelivered records has passed")

// A goneError is returned when the drain reports that it is gone.
type goneError struct{ item sinks.Item }

func (e *goneError) Error() string { return "the drain is gone: " + e.item.Message() }

// A deliverer writes batches to the sink of one worker, and retries. It is safe for concurrent use:
// several batches can be in flight, but only one of them probes a drain that fails.
type deliverer struct {
	target     *target
	sink       sinks.Sink
	quota      *quota
	status     *status
	probeToken chan struct{} // has a token for the delivery that probes a failing drain
	// fast and slow are the waits between retries. The holder of probeToken uses them.
	fast, slow *backoff.ExponentialBackOff
}

func newDeliverer(t *target, sink sinks.Sink, q *quota, s *status) *deliverer {
	return &deliverer{
		target: t, sink: sink, quota: q, status: s, probeToken: newTokens(1),
		fast: newBackOff(minRetry, maxRetry), slow: newBackOff(minSlowRetry, maxSlowRetry),
	}
}

func newBackOff(first, longest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMaxInterval(longest),
		backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0))
}

func (d *deliverer) newDelivery(deadline time.Time) *delivery {
	return &delivery{to: d, deadline: deadline}
}

// A delivery is the attempts to deliver one batch. It is for one goroutine.
type delivery struct {
	to       *deliverer
	span     *tracing.Span // nil for none
	deadline time.Time     // retention deadline of the first entry; zero: none
	probing  bool          // holds the probe token
	// park is called with true before the delivery waits for a drain that refuses a record, so that
	// batches of other operations are written meanwhile, and with false afterwards. Nil if there are
	// no others.
	park func(ctx context.Context, parked bool)

	suspicion suspicion
	accepted  uint64 // writes that the drain had accepted when the last one began
}

// causeOf returns why ctx is done, or nil before that.
func causeOf(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// misconfigured reports that the drain refuses everything.
func (d *delivery) misconfigured(reason string, status int, err error) {
	d.to.target.log.Error("the drain refuses all records", "reason", reason, "status", status, "advice", "correct the drain's settings")
	d.to.status.fail(schema.DrainMisconfigured, err)
}

// awaitProbe blocks while another delivery probes a failing drain. It returns when the drain has
// recovered, when this delivery has the probe token, at the deadline, or when ctx is done.
func (d *delivery) awaitProbe(ctx context.Context) {
	failing := &d.to.status.failing
	if d.probing || !failing.Load() {
		return
	}
	var deadline <-chan time.Time
	if !d.deadline.IsZero() {
		timer := time.NewTimer(time.Until(d.deadline))
		defer timer.Stop()
		deadline = timer.C
	}
	select {
	case <-d.to.probeToken:
		if d.probing = true; !failing.Load() {
			d.releaseProbe()
		}
	case <-deadline:
	case <-ctx.Done():
	}
}

// releaseProbe returns the probe token, if this delivery has it.
func (d *delivery) releaseProbe() {
	if d.probing {
		d.probing = false
		d.to.probeToken <- struct{}{}
	}
}

// write writes a batch once. A write that hangs is aborted while there is still time to record the
// loss.
func (d *delivery) write(ctx context.Context, batch []sinks.Entry) error {
	t := d.to.target
	if !d.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, t.retention.abortAt(d.deadline), errRetentionDeadline)
		defer cancel()
	}
	if d.to.status.hasLargeLag() {
		defer d.to.quota.acquireProcessor(ctx)()
	}
	defer measure.Since(t.series.write, time.Now())
	ctx, try := d.span.Try(httptrace.WithClientTrace(ctx, t.series.hooks))
	err := d.to.sink.Write(ctx, batch)
	if err != nil {
		try.End(sinks.AsError(err).Verdict.String())
		return err
	}
	try.End(tracing.OK)
	return nil
}

// succeeded notes that the drain acknowledged n records.
func (d *delivery) succeeded(n int) {
	d.to.status.addDelivered(n)
	d.to.quota.proof.accepted(time.Now(), true)
	d.recovered()
}

// recovered notes that the drain accepts records.
func (d *delivery) recovered() {
	d.to.status.recover()
	if d.to.status.failing.Swap(false) {
		d.to.target.log.Info("the drain has recovered")
	}
	d.releaseProbe()
}

// backOff waits before the next attempt, but not beyond the deadline.
func (d *delivery) backOff(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast, atMost time.Duration) {
	if wait, ok := d.nextWait(ctx, err, waits, atLeast, atMost); ok {
		defer d.to.status.retryAt(time.Now().Add(wait))()
		sleep(ctx, wait)
	}
}

// nextWait takes the probe token and returns how long to wait before the next attempt: the next of
// waits, but no longer than atMost, and no less than atLeast, which is what the drain asked for. ok
// is false if this delivery did not get the token.
func (d *delivery) nextWait(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast, atMost time.Duration) (wait time.Duration, ok bool) {
	first := !d.to.status.failing.Swap(true)
	d.to.target.series.retries.Inc()
	d.awaitProbe(ctx)
	if !d.probing {
		return 0, false
	}
	if first {
		d.to.fast.Reset()
		d.to.slow.Reset()
	}
	wait = max(min(waits.NextBackOff(), atMost), min(atLeast, sinks.MaxRetryAfter))
	d.to.target.log.Warn("a write to the drain failed and will be retried", "error", err, "wait", wait)
	if !d.deadline.IsZero() {
		wait = min(wait, max(0, time.Until(d.deadline)))
	}
	return wait, true
}

// sleep waits for a time, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
