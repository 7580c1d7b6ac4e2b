package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Drain is where the router writes to.
type Drain struct {
	Name string
	// Settings are what Open and the fields below were made of, by which [Router.Update] finds out
	// whether a drain is another one: two with the same name and Settings that are [reflect.DeepEqual]
	// are the same. Those without Settings never change. They may hold secrets, and are not printed.
	Settings any
	// Fingerprint makes of the settings a text from which they can't be found out, and which is
	// another where they or the salt are others. By it ttydrain finds out, over restarts too, whether
	// a drain that was gone has been changed. Nil where the settings never change.
	Fingerprint func(salt string) string
	// Open makes a sink: one for all partitions' workers or, where it takes one write at a time, one
	// for each. It may be called while another one of this drain is open.
	Open func() (sinks.Sink, error)
	// PHI says that the drain may have protected health information. Another gets no record of an
	// operation that may hold some, whatever Match says: the records pass it by, and are counted.
	PHI bool
	// Apps that the drain gets, as pairs of stack and app; "" stands for any. Empty: all.
	Match []Match
	// Writers is how many writes are under way at a time at the most, each of other operations, which
	// the sink must allow. Where it is 0 or 1, a sink gets one at a time.
	Writers int
	// Alone says that a sink sends each record by itself, so that few are worth a write beside others.
	// Otherwise it is better to wait until many can be sent together.
	Alone bool
	// Unconfirmed says that the drain's protocol confirms no record, so that the sink can find out
	// after a write that records are lost. Where nothing else is to be delivered, it is asked to
	// deliver them again, by writes of no entries.
	Unconfirmed bool
	// Timeout is how long the sink gives the drain for one request, or for a batch where it sends
	// that as a whole; 0 for half a minute. Batches become smaller where the drain comes close to
	// it.
	Timeout time.Duration
	// BatchRecords and BatchBytes bound what is written at once, of which each of several writers gets
	// a part; a batch has at least one segment.
	BatchRecords, BatchBytes int
	// BatchWait is how long a batch that is not full waits for more. 0 writes what is there: while
	// that is being written, the next batch gathers.
	BatchWait time.Duration
}

const (
	// togetherRecords and togetherBytes are how much is worth a write of its own: larger ones are no
	// better.
	togetherRecords = 1000
	togetherBytes   = 1 << 20
)

// mostRecords and mostBytes are how much a batch has at the most.
func (d *Drain) mostRecords() int {
	return min(d.BatchRecords, max(d.BatchRecords/max(1, d.Writers), togetherRecords))
}

func (d *Drain) mostBytes() int {
	return min(d.BatchBytes, max(d.BatchBytes/max(1, d.Writers), togetherBytes))
}

// worthRecords is how many records are worth a write beside others.
func (d *Drain) worthRecords() int {
	if d.Alone {
		return 1
	}
	return min(d.mostRecords(), togetherRecords)
}

// Match is a stack and an app; "" stands for any.
type Match struct{ Stack, App string }

// RouterOptions of a [Router]. All are needed but Tracer and Margin.
type RouterOptions struct {
	Bus     *bus.Bus
	Drains  []Drain
	Metrics *Metrics
	Tracer  *tracing.Tracer
	Log     *slog.Logger
	// Margin is how long before the stream removes them a drain's records are given up; 0 means a
	// tenth of the stream's retention, and a day at most.
	Margin time.Duration
}

// endTimeout bounds asking where LOGS ends.
const endTimeout = 5 * time.Second

// A Router has a worker for each drain and partition.
type Router struct {
	o RouterOptions

	updating sync.Mutex // held through Update, so that there is one at a time; taken before mu
	stopped  bool       // guarded by updating: Run has ended

	mu      sync.Mutex      // guards what follows
	workers []*worker       // in the order of the drains
	running context.Context // of Run, which starts those that are there; nil before
}

// NewRouter opens the sinks. Their drains need not be there yet.
func NewRouter(o RouterOptions) (*Router, error) {
	r := &Router{o: o}
	if err := r.Update(o.Drains); err != nil {
		return nil, err
	}
	return r, nil
}

// Run routes until ctx is done, whatever happens, and closes the sinks. Its error is that of
// closing them.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = ctx
	for _, w := range r.workers {
		w.start(ctx)
	}
	r.mu.Unlock()
	r.reclaimer().run(ctx)
	r.updating.Lock() // one that is under way ends first
	defer r.updating.Unlock()
	r.stopped = true
	return stopAll(r.snapshot())
}

// snapshot is the workers that there are.
func (r *Router) snapshot() []*worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.workers)
}

// Update makes these the router's drains, all of them or, with an error, none: then the drains stay
// as they are. They must have different names.
//
//   - A drain that is the same (see [Drain].Settings) is left alone.
//   - The workers of one that was changed are replaced. A write that is under way is given up, so what was not confirmed
//     is written again with the new settings; the position goes on from there. A new Match holds from the next record on: the
//     past is not looked up. What waits for a drain that lags goes by it too.
//   - One that is not there any more is closed, and its metrics go. Its position is kept in case it comes back; what the stream
//     has let go of by then is lost to it.
//   - A new one starts at the position that it has from an earlier time, or else at the beginning of the stream.
//
// It returns when the workers that are not wanted any more have ended.
func (r *Router) Update(drains []Drain) error {
	r.updating.Lock()
	defer r.updating.Unlock()
	if r.stopped {
		return errors.New("change the drains: the router has stopped")
	}
	var kept, fresh, all []*worker
	before := r.snapshot()                           // nobody else changes them
	made, since := time.Now(), sync.OnceValue(r.end) // before the old workers end
	for _, d := range drains {
		same := slices.DeleteFunc(slices.Clone(before), func(w *worker) bool {
			return w.drain.Name != d.Name || !reflect.DeepEqual(w.drain.Settings, d.Settings)
		})
		if len(same) > 0 {
			kept, all = append(kept, same...), append(all, same...)
			continue
		}
		share := newShare(&d)
		opened, err := d.openSinks(r.o.Bus.Partitions())
		if err != nil {
			return errors.Join(err, stopAll(fresh))
		}
		for i, sink := range opened {
			w := newWorker(r.o, d, i, sink, share)
			w.since, w.made = since(), made
			fresh, all = append(fresh, w), append(all, w)
		}
	}
	// From here on nothing fails. The workers that are not wanted are out of the list before they are
	// stopped, so that Run does not start them, and the new ones get in only when the others have let
	// go of the positions.
	r.mu.Lock()
	r.workers = kept
	r.mu.Unlock()
	r.retire(slices.DeleteFunc(before, func(w *worker) bool { return slices.Contains(kept, w) }), all)
	for _, w := range fresh {
		w.addSeries()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers = all
	if r.running != nil {
		for _, w := range fresh {
			w.start(r.running)
		}
	}
	return nil
}

// end is where LOGS ends; 0 where that can't be asked now, and then a Match that was changed holds
// from the position on.
func (r *Router) end() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	end, err := r.o.Bus.End(ctx, schema.StreamLogs)
	if err != nil {
		r.o.Log.Warn("it is not known where the LOGS stream ends: a match that was changed holds for what its drain does not have yet", "error", err)
	}
	return end
}

// retire stops the workers that are not wanted any more, and forgets the drains that are gone.
func (r *Router) retire(old, all []*worker) {
	if err := stopAll(old); err != nil {
		r.o.Log.Warn("a drain that was changed or is gone was not closed in an orderly way", "error", err)
	}
	for _, w := range old {
		if !slices.ContainsFunc(all, func(n *worker) bool { return n.drain.Name == w.drain.Name }) {
			r.o.Metrics.forget(w.drain.Name)
		}
	}
}

// stopAll ends workers and waits for it. The error is that of closing their sinks.
func stopAll(workers []*worker) error {
	for _, w := range workers {
		if w.cancel != nil {
			w.cancel(errStopped)
		}
	}
	var errs []error
	for _, w := range workers {
		if w.cancel == nil { // it was never started
			errs = append(errs, w.sink.Close())
			continue
		}
		<-w.done
		errs = append(errs, w.closed)
	}
	return errors.Join(errs...)
}

// Drain waits until every record that was on LOGS when it was called is delivered, as far as it is
// for this process to do. It does not wait for drains that are failing: theirs stay in the stream.
func (r *Router) Drain(ctx context.Context) error {
	end, err := r.o.Bus.End(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	for _, w := range r.snapshot() {
		after := func() uint64 {
			if w.failing.Load() || w.resting.Load() || !w.working.Load() {
				return end
			}
			return w.delivered.Load()
		}
		if err := waitFor(ctx, r.o.Bus, schema.StreamLogs, w.filters, end, after); err != nil {
			return err
		}
	}
	return nil
}
