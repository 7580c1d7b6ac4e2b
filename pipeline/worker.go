package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// worker takes one partition's records to one drain, in order.
type worker struct {
	drain     Drain
	partition int
	sink      sinks.Sink
	bus       *bus.Bus
	name      string // of its lease
	filters   []string
	metrics   *Metrics
	log       *slog.Logger

	delivered atomic.Uint64 // sequence on LOGS up to which the drain has everything
	failing   atomic.Bool   // the last write failed
	working   atomic.Bool   // this process has the lease
	control   control
	state     state

	cancel context.CancelCauseFunc // of run; nil before start
	done   chan struct{}           // closed when run has ended and the sink is closed
	closed error                   // of closing it; after done

	// Of the goroutine of run alone.
	fast *backoff.ExponentialBackOff
	slow *backoff.ExponentialBackOff
}

func newWorker(o RouterOptions, d Drain, partition int, sink sinks.Sink) *worker {
	w := &worker{
		drain: d, sink: sink, bus: o.Bus, metrics: o.Metrics,
		partition: partition, name: "drain." + schema.Token(d.Name) + "." + strconv.Itoa(partition),
		log: o.Log.With("drain", d.Name, "partition", partition),
		fast: backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst), backoff.WithMaxInterval(retryMost),
			backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0)),
		slow: backoff.NewExponentialBackOff(backoff.WithInitialInterval(slowFirst), backoff.WithMaxInterval(slowMost),
			backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0)),
	}
	for _, m := range d.Match {
		w.filters = append(w.filters, schema.FilterLogs(partition, m.Stack, m.App))
	}
	if len(w.filters) == 0 {
		w.filters = []string{schema.FilterLogs(partition, "", "")}
	}
	w.control.changed = make(chan struct{})
	return w
}

// addSeries makes the series of the drain be there before anything is counted, at zero.
func (w *worker) addSeries() {
	w.metrics.delivered.WithLabelValues(w.drain.Name)
	w.metrics.retries.WithLabelValues(w.drain.Name)
	w.metrics.deadLettered.WithLabelValues(w.drain.Name)
	w.metrics.withheld.WithLabelValues(w.drain.Name)
	w.metrics.lag.WithLabelValues(w.drain.Name, strconv.Itoa(w.partition))
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
		err := w.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrLeaseWanted) {
			w.log.Info("another process goes on with this part of the drain")
			continue
		}
		if w.delivered.Load() != before {
			retry.Reset()
		}
		w.log.Error("routing stopped and starts again", "error", err)
		w.wait(ctx, retry.NextBackOff())
	}
}

// hold works on the drain for as long as its lease, as its operators want it.
func (w *worker) hold(ctx context.Context) error {
	lease, err := w.bus.Acquire(ctx, w.name)
	if err != nil {
		return err
	}
	defer lease.Release()
	w.working.Store(true)
	defer w.working.Store(false)
	ctx, cancel := lease.Within(ctx)
	defer cancel(nil)
	// What is wanted is known before anything is delivered: a pause lasts over a restart.
	wanted, err := w.bus.DrainControl(ctx, w.drain.Name)
	if err != nil {
		return err
	}
	w.control.set(wanted)
	// They are waited for: whoever stops a worker forgets its metrics, and nothing may set them afterwards.
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	beside.Go(func() { // ends with ctx
		cancel(w.bus.WatchDrainControl(ctx, w.drain.Name, w.control.set))
	})
	beside.Go(func() { // ends with ctx
		cancel(w.tellState(ctx))
	})
	for {
		wanted, changed := w.control.get()
		if r := wanted.Rewind; r != nil && r.ID != lease.Rewound() {
			if err := lease.Rewind(ctx, r); err != nil {
				return err
			}
			w.log.Info("the drain was rewound", "after", r.After)
		}
		err := w.obey(ctx, lease, wanted, changed)
		if !errors.Is(err, errControl) {
			return err
		}
	}
}

// errControl is the cause with which work stops that operators want done otherwise.
var errControl = errors.New("something else is wanted of the drain")

// obey does what is wanted until that changes.
func (w *worker) obey(ctx context.Context, lease *bus.Lease, wanted schema.DrainControl, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with ctx
		select {
		case <-changed:
			cancel(errControl)
		case <-ctx.Done():
		}
	}()
	w.delivered.Store(lease.Position())
	if wanted.Paused {
		w.state.pause()
		select {
		case <-lease.Wanted():
			return bus.ErrLeaseWanted
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	w.state.resume()
	return w.route(ctx, cancel, lease)
}

// fetched is a segment that was read.
type fetched struct {
	sequence uint64
	at       time.Time // when it was published
	pending  uint64
	size     int
	segment  *schema.Segment
}

// route reads and delivers until something other than the drain fails.
func (w *worker) route(ctx context.Context, cancel context.CancelCauseFunc, lease *bus.Lease) error {
	reader, err := w.bus.Read(ctx, schema.StreamLogs, w.filters, lease.Position())
	if err != nil {
		return err
	}
	defer reader.Close()
	segments := make(chan fetched, 64)
	go w.fetch(ctx, cancel, reader, segments)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer w.save(context.WithoutCancel(ctx), lease)
	var batch []sinks.Entry
	for {
		select {
		case first := <-segments:
			var last fetched
			batch, last = w.gather(ctx, segments, batch[:0], first)
			w.state.begin(first.at, last.pending+1)
			if err := w.deliver(ctx, batch); err != nil {
				return err
			}
			clear(batch)
			w.delivered.Store(last.sequence)
			w.state.caughtUp(last.pending)
		case <-tick.C:
			if err := w.save(ctx, lease); err != nil {
				return err
			}
		case <-lease.Wanted(): // between two batches
			return bus.ErrLeaseWanted
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gather makes a batch of a segment and those that are there behind it, or come within BatchWait.
func (w *worker) gather(ctx context.Context, segments <-chan fetched, batch []sinks.Entry, first fetched) ([]sinks.Entry, fetched) {
	last, size := first, first.size
	batch = appendEntries(batch, first.segment)
	var wait <-chan time.Time
	if w.drain.BatchWait > 0 {
		timer := time.NewTimer(w.drain.BatchWait)
		defer timer.Stop()
		wait = timer.C
	}
	for len(batch) < w.drain.BatchRecords && size < w.drain.BatchBytes {
		select {
		case last = <-segments:
		default:
			if wait == nil {
				return batch, last
			}
			select {
			case last = <-segments:
			case <-wait:
				return batch, last
			case <-ctx.Done():
				return batch, last
			}
		}
		size += last.size
		batch = appendEntries(batch, last.segment)
	}
	return batch, last
}

// fetch ends with ctx, or when the stream can't be read.
func (w *worker) fetch(ctx context.Context, cancel context.CancelCauseFunc, reader *bus.Reader, segments chan<- fetched) {
	var decoder schema.Decoder
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			cancel(err)
			return
		}
		segment, err := decoder.Segment(m.Data)
		if errors.Is(err, schema.ErrCorrupt) {
			w.log.Error("a message on the LOGS stream can't be read and is passed over", "subject", m.Subject, "sequence", m.Sequence, "error", err)
			w.metrics.Corrupt.Inc()
			continue
		}
		if err != nil {
			cancel(err)
			return
		}
		if segment.Operation.PHI && !w.drain.PHI {
			w.metrics.withheld.WithLabelValues(w.drain.Name).Add(float64(len(segment.Records)))
			segment.Records = nil // the position moves past it all the same
		}
		select {
		case segments <- fetched{m.Sequence, m.Time, m.Pending, len(m.Data), segment}:
		case <-ctx.Done():
			return
		}
	}
}

func appendEntries(batch []sinks.Entry, s *schema.Segment) []sinks.Entry {
	for i := range s.Records {
		batch = append(batch, sinks.Entry{Operation: s.Operation, Record: &s.Records[i]})
	}
	return batch
}

// deliver writes a batch until every entry of it is at the drain, or a dead letter. Its error is that of
// ctx, or of the bus.
func (w *worker) deliver(ctx context.Context, batch []sinks.Entry) error {
	for len(batch) > 0 {
		err := w.sink.Write(ctx, batch)
		if err == nil {
			w.succeeded(len(batch))
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failed := sinks.AsError(err)
		left := undelivered(batch, failed)
		w.count(len(batch) - len(left))
		switch item := worst(failed); acknowledge(item.Verdict, len(left)) {
		case actHalve:
			middle := len(left) / 2
			if err := w.deliver(ctx, left[:middle]); err != nil {
				return err
			}
			left = left[middle:]
		case actDeadLetter:
			return w.deadLetter(ctx, left[0], item)
		case actRetry:
			w.state.fail(schema.DrainRetrying, err)
			w.failed(ctx, err, max(w.fast.NextBackOff(), failed.RetryAfter))
		case actRetrySlow:
			w.log.Error("the drain refuses everything until its settings are changed", "reason", item.Reason, "status", item.Status)
			w.state.fail(schema.DrainMisconfigured, err)
			w.failed(ctx, err, max(w.slow.NextBackOff(), failed.RetryAfter))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		batch = left
	}
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
	w.metrics.delivered.WithLabelValues(w.drain.Name).Add(float64(n))
	w.state.delivered.Add(uint64(n))
}

// failed waits before the next try.
func (w *worker) failed(ctx context.Context, err error, wait time.Duration) {
	w.failing.Store(true)
	w.metrics.retries.WithLabelValues(w.drain.Name).Inc()
	w.log.Warn("the drain did not take a batch, which is written again", "error", err, "wait", wait)
	w.wait(ctx, wait)
}

func (w *worker) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
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
	w.metrics.deadLettered.WithLabelValues(w.drain.Name).Inc()
	w.state.recover()
	return nil
}

// save keeps the position.
func (w *worker) save(ctx context.Context, lease *bus.Lease) error {
	if position := w.delivered.Load(); position != lease.Position() {
		// Without room for it, delivery goes on: a restart repeats what came after the last one that is kept.
		if err := lease.Save(ctx, position); !errors.Is(err, bus.ErrFull) {
			return err
		}
	}
	return nil
}
