package router

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A worker delivers one partition's records to one drain, in order. It holds the lease and follows
// the drain's desired state; its parts read and deliver.
type worker struct {
	target    *target
	control   *control
	status    *status
	position  *position
	deliverer *deliverer
	loss      *lossTracker
	slots     chan struct{} // see quota.workerSlots

	leased    atomic.Bool // this process has the lease
	suspended atomic.Bool // nothing is to be delivered: the drain is paused, or gone

	cancel   context.CancelCauseFunc // of run; nil before start
	done     chan struct{}           // closed when run has ended and the sink is closed
	closeErr error                   // of closing the sink; after done
}

func newWorker(t *target, sink sinks.Sink, q *quota) *worker {
	w := &worker{target: t, control: newControl(t), status: newStatus(t, q.proof), position: newPosition(t), slots: q.workerSlots()}
	w.deliverer = newDeliverer(t, sink, q, w.status)
	w.loss = &lossTracker{target: t, position: w.position, deliverer: w.deliverer}
	return w
}

// errStopped is the cause with which a worker ends whose drain was changed or removed.
var errStopped = errors.New("the drain was changed, or removed")

// start starts the worker, which works until ctx is done, or stopAll stops it. It is called at most
// once.
func (w *worker) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.done = make(chan struct{})
	go func() { // ends with ctx
		defer close(w.done)
		w.run(ctx)
		w.closeErr = w.deliverer.sink.Close()
	}()
}

// run works whenever the worker has the lease, until ctx is done.
func (w *worker) run(ctx context.Context) {
	t := w.target
	retry := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(10*time.Second))
	for {
		before := w.position.delivered.Load()
		leased, err := w.runWithLease(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrHandover) || errors.Is(err, bus.ErrLeaseLost) {
			t.metrics.setLag(t.drain.Name, t.partition, 0, 0, 0) // the next holder exports it
		}
		if errors.Is(err, bus.ErrHandover) {
			t.log.Info("another process takes over this partition of the drain")
			continue
		}
		if w.position.delivered.Load() != before {
			retry.Reset()
		}
		t.log.Error("routing failed and restarts", "error", err)
		wait := retry.NextBackOff()
		if leased && !errors.Is(err, bus.ErrLeaseLost) {
			w.status.reportUnread(ctx, err, func() { sleep(ctx, wait) })
		} else { // another process may have the lease, and publish the status
			sleep(ctx, wait)
		}
	}
}

// runWithLease acquires the lease and works on the drain, in its desired state, until something
// fails. leased reports whether it had the lease.
func (w *worker) runWithLease(ctx context.Context) (leased bool, err error) {
	lease, err := w.target.bus.Acquire(ctx, w.target.lease)
	if err != nil {
		return false, err
	}
	defer lease.Release()
	w.leased.Store(true)
	defer w.leased.Store(false)
	ctx, cancel := lease.Within(ctx)
	defer cancel(nil)
	// The desired state is known before anything is delivered: a pause outlasts a restart.
	if err := w.control.load(ctx); err != nil {
		return true, err
	}
	// The goroutines end before this returns: when a worker has stopped, its drain's metrics are
	// removed, and nothing may set them again.
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	defer cancel(nil)
	goroutines.Go(func() { cancel(w.control.watch(ctx)) }) // ends with ctx
	goroutines.Go(func() { cancel(w.status.report(ctx)) }) // ends with ctx
	created, err := w.position.open(ctx, lease)
	if err != nil {
		return true, err
	}
	if !created {
		if err := w.loss.detect(ctx); err != nil {
			return true, err
		}
	}
	if err := w.position.updateMatch(ctx); err != nil {
		return true, err
	}
	for {
		if err := w.runOnce(ctx, lease); err != nil && !errors.Is(err, errControl) {
			return true, err
		}
	}
}

// runOnce runs the drain in its desired state until that changes, which is errControl, or until
// segments were abandoned.
func (w *worker) runOnce(ctx context.Context, lease *bus.Lease) error {
	desired, changed := w.control.get()
	if desired.Gone != nil && w.control.reconfigured(desired.Gone) {
		return w.control.clearGone(ctx, desired.Gone)
	}
	if r := desired.Rewind; r != nil && r.ID != lease.Progress().Rewind {
		if err := w.rewind(ctx, r); err != nil {
			return err
		}
	}
	err := w.runUntilControlChanges(ctx, lease, desired, changed)
	var gone *goneError
	switch {
	case errors.As(err, &gone):
		return w.control.markGone(ctx, gone.item)
	case errors.Is(err, errRetentionDeadline):
		return w.loss.giveUp(ctx)
	}
	return err
}

// runUntilControlChanges runs the drain in its desired state until that state changes, or until
// segments have to be abandoned.
func (w *worker) runUntilControlChanges(ctx context.Context, lease *bus.Lease, desired schema.DrainControl, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	defer cancel(nil)
	goroutines.Go(func() { // ends with ctx
		select {
		case <-changed:
			cancel(errControl)
		case <-ctx.Done():
		}
	})
	w.position.delivered.Store(lease.Position())
	w.status.begin(lease.Position(), desired)
	w.suspended.Store(desired.Paused || desired.Gone != nil)
	goroutines.Go(func() { w.status.countAhead(ctx) }) // ends with ctx
	if w.suspended.Load() {
		return w.waitWhileSuspended(ctx, lease)
	}
	if err := w.loss.deliverGaps(ctx); err != nil {
		return err
	}
	return newDispatcher(w.position, w.deliverer, w.slots).run(ctx)
}

// waitWhileSuspended waits until the desired state changes, or segments have to be abandoned.
func (w *worker) waitWhileSuspended(ctx context.Context, lease *bus.Lease) error {
	retention := w.target.retention
	for {
		now := time.Now()
		deadline, err := w.position.deadline(ctx, now)
		if err != nil {
			return err
		}
		if !now.Before(deadline) {
			return errRetentionDeadline
		}
		if err := w.position.save(ctx, retention.safeUntilAfter(deadline)); err != nil {
			return err
		}
		timer := time.NewTimer(min(deadline.Sub(now), retention.saveInterval()))
		select {
		case <-timer.C:
		case <-lease.Handover():
			timer.Stop()
			return bus.ErrHandover
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// rewind follows a rewind: back, or forward past segments that were delivered before. With Skip,
// undelivered segments are abandoned first.
func (w *worker) rewind(ctx context.Context, r *schema.Rewind) error {
	if r.Skip && r.After > w.position.reached() {
		if err := w.loss.skip(ctx, r.After); err != nil {
			return err
		}
	}
	return w.position.rewind(ctx, r)
}
