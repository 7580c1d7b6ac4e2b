package router

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

// Options are the options of a [Router]. All but Tracer, Sign and Margin are required.
type Options struct {
	Bus     *bus.Bus
	Drains  []drain.Drain
	Metrics *Metrics
	Tracer  *tracing.Tracer
	Log     *slog.Logger
	// Sign signs an object as JSON with a type of package schema; nil leaves gap records unsigned.
	Sign func(typ string, object any) (string, error)
	// Undelivered records are abandoned by Margin before the stream removes them. 0 means a tenth of
	// the stream's retention, and at most a day.
	Margin time.Duration
}

// endTimeout bounds the request for the end of LOGS.
const endTimeout = 5 * time.Second

// A Router delivers LOGS to the drains, with a worker for each drain and partition.
type Router struct {
	o Options

	updating sync.Mutex // held through Update, so that there is one at a time; taken before mu
	stopped  bool       // guarded by updating: Run has ended

	mu      sync.Mutex      // guards what follows
	workers []*worker       // in the order of the drains
	running context.Context // of Run, in which workers are started; nil before
}

// New opens the sinks. The drains themselves may be unreachable.
func New(o Options) (*Router, error) {
	r := &Router{o: o}
	if err := r.Update(o.Drains); err != nil {
		return nil, err
	}
	return r, nil
}

// Run routes until ctx is done, whatever fails, and closes the sinks. It returns the error of
// closing them.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = ctx
	for _, w := range r.workers {
		w.start(ctx)
	}
	r.mu.Unlock()
	newReclaimer(r.o.Bus, r.o.Metrics, r.o.Log, r.currentWorkers).Run(ctx)
	r.updating.Lock() // an Update in progress ends first
	defer r.updating.Unlock()
	r.stopped = true
	return stopAll(r.currentWorkers())
}

// currentWorkers returns a copy of the list of workers.
func (r *Router) currentWorkers() []*worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.workers)
}

// Update replaces the router's drains, all of them or, on an error, none. The drains must have
// different names.
//
//   - A drain that is the same (see [Drain].Settings) is left alone.
//   - The workers of a changed drain are replaced. Writes in flight are aborted, and records that
//     were not acknowledged are written again with the new settings, from the position on. A new
//     Match applies from the next record on, without a look into the past; undelivered records of a
//     drain that lags are selected by it too.
//   - A drain that is missing is closed, and its metrics are removed. Its position is kept in case
//     it comes back; it loses the segments that the stream removes in the meantime.
//   - A new drain starts at the position that it has from an earlier time, or else at the beginning
//     of the stream.
//
// Update returns when the workers of changed and missing drains have ended.
func (r *Router) Update(drains []drain.Drain) error {
	r.updating.Lock()
	defer r.updating.Unlock()
	if r.stopped {
		return errors.New("change the drains: the router has stopped")
	}
	var kept, added, all []*worker
	before := r.currentWorkers()                      // only Update changes them
	now, end := time.Now(), sync.OnceValue(r.endLogs) // before the old workers end
	for _, d := range drains {
		same := slices.DeleteFunc(slices.Clone(before), func(w *worker) bool {
			return w.target.drain.Name != d.Name || !reflect.DeepEqual(w.target.drain.Settings, d.Settings)
		})
		if len(same) > 0 {
			kept, all = append(kept, same...), append(all, same...)
			continue
		}
		q := newQuota(&d)
		opened, err := d.OpenSinks(r.o.Bus.Partitions())
		if err != nil {
			return errors.Join(err, stopAll(added))
		}
		for i, sink := range opened {
			w := newWorker(r.newTarget(d, i), sink, q)
			w.position.start, w.position.created = end(), now
			added, all = append(added, w), append(all, w)
		}
	}
	// Nothing fails from here on. The old workers leave the list before they are stopped, so that Run
	// does not start them, and the new ones join it only when the old ones have released the
	// positions.
	r.mu.Lock()
	r.workers = kept
	r.mu.Unlock()
	r.retire(slices.DeleteFunc(before, func(w *worker) bool { return slices.Contains(kept, w) }), all)
	for _, w := range added {
		w.target.addSeries()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers = all
	if r.running != nil {
		for _, w := range added {
			w.start(r.running)
		}
	}
	return nil
}

// newTarget returns the target of a worker.
func (r *Router) newTarget(d drain.Drain, partition int) *target {
	return &target{
		drain: d, partition: partition, lease: drain.LeaseName(d.Name, partition), filters: d.Filters(partition),
		bus: r.o.Bus, retention: newRetention(r.o.Bus.Retention(), r.o.Margin), metrics: r.o.Metrics, tracer: r.o.Tracer,
		sign: r.o.Sign, log: r.o.Log.With("drain", d.Name, "partition", partition),
	}
}

// endLogs returns the sequence of the last segment on LOGS, or 0 if it is unknown. A changed Match
// then applies from the position on.
func (r *Router) endLogs() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	end, err := r.o.Bus.End(ctx, schema.StreamLogs)
	if err != nil {
		r.o.Log.Warn("a changed match applies to undelivered records too: the end of the LOGS stream is unknown", "error", err)
	}
	return end
}

// retire stops workers, and removes the metrics of drains without a worker.
func (r *Router) retire(old, all []*worker) {
	if err := stopAll(old); err != nil {
		r.o.Log.Warn("failed to close a drain that was changed or removed", "error", err)
	}
	for _, w := range old {
		name := w.target.drain.Name
		if !slices.ContainsFunc(all, func(n *worker) bool { return n.target.drain.Name == name }) {
			r.o.Metrics.forget(name)
		}
	}
}

// stopAll stops workers and waits until they have ended. It returns the error of closing their
// sinks.
func stopAll(workers []*worker) error {
	for _, w := range workers {
		if w.cancel != nil {
			w.cancel(errStopped)
		}
	}
	var errs []error
	for _, w := range workers {
		if w.cancel == nil { // it was never started
			errs = append(errs, w.deliverer.sink.Close())
			continue
		}
		<-w.done
		errs = append(errs, w.closeErr)
	}
	return errors.Join(errs...)
}

// Drain blocks until every record is delivered that was on LOGS when it was called, as far as this
// process has to deliver it. It does not wait for failing or suspended drains.
func (r *Router) Drain(ctx context.Context) error {
	end, err := r.o.Bus.End(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	for _, w := range r.currentWorkers() {
		position := func() uint64 {
			if w.status.failing.Load() || w.suspended.Load() || !w.leased.Load() {
				return end
			}
			return w.position.delivered.Load()
		}
		if err := r.o.Bus.WaitFor(ctx, schema.StreamLogs, w.target.filters, end, position); err != nil {
			return err
		}
	}
	return nil
}
