package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// worker takes one partition's records to one drain, in order.
type worker struct {
	drain     Drain
	partition int
	sink      sinks.Sink
	bus       *bus.Bus
	name      string   // of its lease
	filters   []string // sorted
	since     uint64   // where LOGS ended when the worker was made, by the clock at made; 0 where nobody knows
	made      time.Time
	keep      keeping
	metrics   *Metrics
	series    *series // of the drain; by addSeries
	tracer    *tracing.Tracer
	log       *slog.Logger

	delivered atomic.Uint64 // sequence on LOGS up to which the drain has everything
	failing   atomic.Bool   // the last write failed
	working   atomic.Bool   // this process has the lease
	resting   atomic.Bool   // nothing is to be delivered: the drain is paused, or gone
	control   control
	state     state

	cancel context.CancelCauseFunc // of run; nil before start
	done   chan struct{}           // closed when run has ended and the sink is closed
	closed error                   // of closing it; after done

	// Of the goroutine of run alone: what is behind the position and the drain has all the same, as
	// far as that is known. It does not get beyond again.
	beyond map[uint64]int         // of segments, by their sequence, the first so many records
	taken  map[recordKey]struct{} // records of others

	share *share
	slots chan struct{}               // of share, or the worker's own
	turn  chan struct{}               // has a token for the one delivery that tries a drain that fails
	fast  *backoff.ExponentialBackOff // of whoever has that
	slow  *backoff.ExponentialBackOff
}

func newWorker(o RouterOptions, d Drain, partition int, sink sinks.Sink, share *share) *worker {
	w := &worker{
		drain: d, sink: sink, share: share, slots: share.slotsOf(), turn: newSlots(1), bus: o.Bus, metrics: o.Metrics, tracer: o.Tracer,
		partition: partition, name: leaseOf(d.Name, partition), filters: filtersOf(d, partition),
		keep: keepingOf(o), beyond: make(map[uint64]int), taken: make(map[recordKey]struct{}),
		log:  o.Log.With("drain", d.Name, "partition", partition),
		fast: newBackOff(retryFirst, retryMost), slow: newBackOff(slowFirst, slowMost),
	}
	w.state.tally.phi = d.PHI
	w.control.changed = make(chan struct{})
	return w
}

func newBackOff(first, most time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMaxInterval(most),
		backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0))
}

// leaseOf is the name of the lease on a drain's partition, which is that of the position too.
func leaseOf(drain string, partition int) string {
	return "drain." + schema.Token(drain) + "." + strconv.Itoa(partition)
}

// filtersOf match the segments of a partition that a drain gets. They are sorted.
func filtersOf(d Drain, partition int) (filters []string) {
	for _, m := range d.Match {
		filters = append(filters, schema.FilterLogs(partition, m.Stack, m.App))
	}
	if len(filters) == 0 {
		filters = []string{schema.FilterLogs(partition, "", "")}
	}
	slices.Sort(filters)
	return filters
}

// addSeries makes the series of the drain be there before anything is counted, at zero. It is
// called before start.
func (w *worker) addSeries() {
	w.series = w.metrics.ofDrain(w.drain.Name)
	w.metrics.setLag(w.drain.Name, w.partition, 0, 0, 0)
}

// errStopped is the cause with which a worker ends that is not wanted any more.
var errStopped = errors.New("the drain was changed, or is gone")

// start makes the worker work until ctx is done, or stopAll ends it. It is called once at most.
func (w *worker) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.done = make(chan struct{})
	go func() { // ends with ctx
		defer close(w.done)
		w.run(ctx)
		w.closed = w.sink.Close()
	}()
}

func (w *worker) run(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(10*time.Second))
	for {
		before := w.delivered.Load()
		held, err := w.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrLeaseWanted) || errors.Is(err, bus.ErrLeaseLost) {
			w.metrics.setLag(w.drain.Name, w.partition, 0, 0, 0) // who goes on tells it
		}
		if errors.Is(err, bus.ErrLeaseWanted) {
			w.log.Info("another process goes on with this part of the drain")
			continue
		}
		if w.delivered.Load() != before {
			retry.Reset()
		}
		w.log.Error("routing stopped and starts again", "error", err)
		if wait := retry.NextBackOff(); held && !errors.Is(err, bus.ErrLeaseLost) {
			w.waitUnread(ctx, err, wait)
		} else { // another process may have the lease, and reports the state
			w.wait(ctx, wait)
		}
	}
}

// waitUnread reports the drain as unread, and waits. The states of drains are kept for longer than
// it waits at most.
func (w *worker) waitUnread(ctx context.Context, err error, wait time.Duration) {
	w.state.failReading(err)
	s := w.state.told(time.Now())
	s.Drain, s.Partition = w.drain.Name, w.partition
	w.countState(s.State, 1)
	defer w.countState(s.State, -1)
	if err := w.bus.SaveDrainState(ctx, &s); err != nil {
		w.log.Warn("the drain's state could not be recorded", "error", err)
	}
	w.wait(ctx, wait)
}

// hold works on the drain for as long as its lease, as its operators want it. held reports whether
// it had the lease.
func (w *worker) hold(ctx context.Context) (held bool, err error) {
	lease, err := w.bus.Acquire(ctx, w.name)
	if err != nil {
		return false, err
	}
	defer lease.Release()
	w.working.Store(true)
	defer w.working.Store(false)
	ctx, cancel := lease.Within(ctx)
	defer cancel(nil)
	// What is wanted is known before anything is delivered: a pause lasts over a restart.
	wanted, err := w.bus.DrainControl(ctx, w.drain.Name)
	if err != nil {
		return true, err
	}
	w.control.set(wanted)
	// They are waited for: whoever stops a worker forgets its metrics, and nothing may set them
	// afterwards.
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	beside.Go(func() { // ends with ctx
		cancel(w.bus.WatchDrainControl(ctx, w.drain.Name, w.control.set))
	})
	beside.Go(func() { // ends with ctx
		cancel(w.tellState(ctx))
	})
	if err := w.begin(ctx, lease); err != nil {
		return true, err
	}
	if err := w.match(ctx, lease); err != nil {
		return true, err
	}
	for {
		wanted, changed := w.control.get()
		if wanted.Gone != nil && wanted.Gone.Settings != w.fingerprint(wanted.Gone.Salt) {
			if err := w.notGone(ctx, wanted.Gone); err != nil {
				return true, err
			}
			continue
		}
		if r := wanted.Rewind; r != nil && r.ID != lease.Progress().Rewind {
			if err := w.rewind(ctx, lease, r); err != nil {
				return true, err
			}
		}
		err := w.obey(ctx, lease, wanted, changed)
		if errors.Is(err, errOverdue) {
			err = w.giveUp(ctx, lease)
		}
		if err != nil && !errors.Is(err, errControl) {
			return true, err
		}
	}
}

// errControl is the cause with which work stops that operators want done otherwise.
var errControl = errors.New("something else is wanted of the drain")

// obey does what is wanted until that changes, or until something is to be given up.
func (w *worker) obey(ctx context.Context, lease *bus.Lease, wanted schema.DrainControl, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	beside.Go(func() { // ends with ctx
		select {
		case <-changed:
			cancel(errControl)
		case <-ctx.Done():
		}
	})
	w.delivered.Store(lease.Position())
	w.state.begin(lease.Position(), wanted)
	w.resting.Store(wanted.Paused || wanted.Gone != nil)
	beside.Go(func() { w.countAhead(ctx) }) // ends with ctx
	if w.resting.Load() {
		return w.rest(ctx, lease)
	}
	return w.route(ctx, lease)
}

// rest does nothing until something else is wanted, or something is to be given up.
func (w *worker) rest(ctx context.Context, lease *bus.Lease) error {
	for {
		now := time.Now()
		due, err := w.due(ctx, lease, now)
		if err != nil {
			return err
		}
		if !now.Before(due) {
			return errOverdue
		}
		if err := w.save(ctx, lease, w.keep.safeAfter(due)); err != nil {
			return err
		}
		timer := time.NewTimer(min(due.Sub(now), w.keep.often()))
		select {
		case <-timer.C:
		case <-lease.Wanted():
			timer.Stop()
			return bus.ErrLeaseWanted
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// save keeps the position, and until when the stream keeps what comes after it.
func (w *worker) save(ctx context.Context, lease *bus.Lease, safe time.Time) error {
	p := lease.Progress()
	moved := w.delivered.Load() != p.Sequence
	if !moved && safe.Sub(p.Safe) < w.keep.often() && len(w.beyond)+len(p.Beyond) == 0 {
		return nil
	}
	p.Beyond = nil
	for _, sequence := range slices.Sorted(maps.Keys(w.beyond)) {
		p.Beyond = append(p.Beyond, bus.Part{Sequence: sequence, Records: w.beyond[sequence]})
	}
	p.Sequence = w.delivered.Load()
	p.Reached, p.Safe = max(p.Reached, p.Sequence), safe
	// Without room for it, delivery goes on: a restart repeats what came after the last one that is
	// kept.
	if err := lease.SaveProgress(ctx, p); !errors.Is(err, bus.ErrFull) {
		return err
	}
	return nil
}

func (w *worker) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
