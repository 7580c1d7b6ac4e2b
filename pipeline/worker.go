package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
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

	// Of the goroutine of run alone.
	span  *tracing.Span          // of the batch that is being delivered; nil for none
	taken map[recordKey]struct{} // records behind delivered that the drain has all the same
	fast  *backoff.ExponentialBackOff
	slow  *backoff.ExponentialBackOff
}

func newWorker(o RouterOptions, d Drain, partition int, sink sinks.Sink) *worker {
	w := &worker{
		drain: d, sink: sink, bus: o.Bus, metrics: o.Metrics, tracer: o.Tracer,
		partition: partition, name: leaseOf(d.Name, partition), filters: filtersOf(d, partition),
		keep: keepingOf(o), taken: make(map[recordKey]struct{}),
		log: o.Log.With("drain", d.Name, "partition", partition),
		fast: backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst), backoff.WithMaxInterval(retryMost),
			backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0)),
		slow: backoff.NewExponentialBackOff(backoff.WithInitialInterval(slowFirst), backoff.WithMaxInterval(slowMost),
			backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0)),
	}
	w.state.tally.phi = d.PHI
	w.control.changed = make(chan struct{})
	return w
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

// addSeries makes the series of the drain be there before anything is counted, at zero. It is called before start.
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
		err := w.hold(ctx)
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
	if err := w.begin(ctx, lease); err != nil {
		return err
	}
	if err := w.match(ctx, lease); err != nil {
		return err
	}
	for {
		wanted, changed := w.control.get()
		if wanted.Gone != nil && wanted.Gone.Settings != w.fingerprint(wanted.Gone.Salt) {
			if err := w.notGone(ctx, wanted.Gone); err != nil {
				return err
			}
			continue
		}
		if r := wanted.Rewind; r != nil && r.ID != lease.Progress().Rewind {
			if err := lease.Rewind(ctx, r); err != nil {
				return err
			}
			w.log.Info("the drain was rewound", "after", r.After)
		}
		err := w.obey(ctx, lease, wanted, changed)
		if errors.Is(err, errOverdue) {
			err = w.giveUp(ctx, lease)
		}
		if err != nil && !errors.Is(err, errControl) {
			return err
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

// fetched is a segment that was read.
type fetched struct {
	sequence uint64
	at       time.Time // when it was published
	size     int
	trace    string // as bus.Message has it
	segment  *schema.Segment
}

// A batch is what is written at once.
type batch struct {
	entries  []sinks.Entry
	segments uint64
	size     int // of the segments
	last     fetched
	traces   []string  // of the segments
	shown    int64     // when the first of the records was, in nanoseconds since 1970 UTC; 0 without any
	stored   time.Time // when the first segment of them was
	due      time.Time // when the first of them is to be given up; zero where none ever is
}

// add adds a segment. What comes up to reached was delivered before, and is never missing.
func (b *batch) add(f fetched, reached uint64, k keeping) {
	b.entries = appendEntries(b.entries, f.segment)
	b.segments++
	b.size += f.size
	b.last = f
	if records := f.segment.Records; len(records) > 0 {
		if b.shown == 0 || records[0].Time < b.shown {
			b.shown = records[0].Time
		}
		if b.stored.IsZero() {
			b.stored = f.at
		}
		if f.trace != "" {
			b.traces = append(b.traces, f.trace)
		}
	}
	if b.due.IsZero() && f.sequence > reached {
		b.due = k.giveUpAt(f.at)
	}
}

// route reads and delivers until something other than the drain fails, or something is to be given up.
func (w *worker) route(ctx context.Context, lease *bus.Lease) error {
	if err := w.tellGaps(ctx, lease); err != nil {
		return err
	}
	reader, err := w.bus.Read(ctx, schema.StreamLogs, w.filters, lease.Position())
	if err != nil {
		return err
	}
	defer reader.Close()
	w.state.reading(reader.Pending())
	segments := newAhead()
	ctx, cancel := context.WithCancelCause(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait() // whoever begins anew counts anew
	defer cancel(nil)
	fetching.Go(func() { w.fetch(ctx, cancel, reader, segments) }) // ends with ctx
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var b batch
	safe := lease.Progress().Safe // until when the stream keeps what is not delivered
	defer func() { w.save(context.WithoutCancel(ctx), lease, safe) }()
	for {
		select {
		case first := <-segments.queue:
			segments.took(first)
			safe = w.keep.safeAt(first.at)
			b = batch{entries: b.entries[:0]}
			w.gather(ctx, segments, &b, first, lease.Progress().Reached)
			w.state.deliver(b.entries)
			w.span = w.trace(&b)
			left, err := w.deliver(ctx, b.entries, b.due)
			w.span.End(tracing.Result(err, "not delivered"))
			w.span = nil
			w.note(b.entries, left)
			if err != nil {
				return err
			}
			w.forget(b.entries)
			clear(b.entries)
			w.delivered.Store(b.last.sequence)
			w.state.delivered(&b)
			w.measure(&b, first.sequence > lease.Progress().Reached)
			safe = w.keep.safeAt(b.last.at)
		case <-tick.C:
			if w.state.caughtUp() {
				safe = w.keep.safeAt(time.Now())
			}
			if err := w.save(ctx, lease, safe); err != nil {
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
func (w *worker) gather(ctx context.Context, segments *ahead, b *batch, first fetched, reached uint64) {
	b.add(first, reached, w.keep)
	var wait <-chan time.Time
	if w.drain.BatchWait > 0 {
		timer := time.NewTimer(w.drain.BatchWait)
		defer timer.Stop()
		wait = timer.C
	}
	for len(b.entries) < w.drain.BatchRecords && b.size < w.drain.BatchBytes {
		var next fetched
		select {
		case next = <-segments.queue:
		default:
			if wait == nil {
				return
			}
			select {
			case next = <-segments.queue:
			case <-wait:
				return
			case <-ctx.Done():
				return
			}
		}
		segments.took(next)
		b.add(next, reached, w.keep)
	}
}

// trace starts the span of a batch, where a segment of it is traced.
func (w *worker) trace(b *batch) *tracing.Span {
	if len(b.traces) == 0 {
		return nil
	}
	span := w.tracer.Follow("drain", b.traces, time.Now())
	span.Text("drain", w.drain.Name)
	span.Number("partition", w.partition)
	span.Number("records", len(b.entries))
	span.Number("bytes", b.size)
	return span
}

// measure observes a batch that was delivered, once for all of it; fresh says that the drain did not have it before.
func (w *worker) measure(b *batch, fresh bool) {
	if len(b.entries) == 0 {
		return
	}
	w.series.batchRecords.Observe(float64(len(b.entries)))
	w.series.batchBytes.Observe(float64(b.size))
	if fresh {
		measure.Since(w.series.route, b.stored)
		measure.Since(w.series.latency, time.Unix(0, b.shown))
	}
}

// fetch ends with ctx, or when the stream can't be read.
func (w *worker) fetch(ctx context.Context, cancel context.CancelCauseFunc, reader *bus.Reader, segments *ahead) {
	var decoder schema.Decoder
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			cancel(err)
			return
		}
		segment, err := decoder.Segment(m.Data)
		if errors.Is(err, schema.ErrCorrupt) {
			w.corrupt(m, err)
			continue
		}
		if err != nil {
			cancel(err)
			return
		}
		if segment.Operation.PHI && !w.drain.PHI {
			w.series.withheld.Add(float64(len(segment.Records)))
			segment.Records = nil // the position moves past it all the same
		}
		w.state.read(m, len(segment.Records))
		w.series.received.Add(float64(len(segment.Records)))
		if segments.put(ctx, fetched{m.Sequence, m.Time, len(m.Data), m.Trace, segment}) != nil {
			return
		}
		w.state.handedOver()
	}
}

func (w *worker) corrupt(m bus.Message, err error) {
	w.log.Error("a message on the LOGS stream can't be read and is passed over", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	w.metrics.Corrupt.Inc()
}

func appendEntries(batch []sinks.Entry, s *schema.Segment) []sinks.Entry {
	for i := range s.Records {
		batch = append(batch, sinks.Entry{Operation: s.Operation, Record: &s.Records[i]})
	}
	return batch
}

// save keeps the position, and until when the stream keeps what comes after it.
func (w *worker) save(ctx context.Context, lease *bus.Lease, safe time.Time) error {
	p := lease.Progress()
	moved := w.delivered.Load() != p.Sequence
	if !moved && safe.Sub(p.Safe) < w.keep.often() {
		return nil
	}
	p.Sequence = w.delivered.Load()
	p.Reached, p.Safe = max(p.Reached, p.Sequence), safe
	// Without room for it, delivery goes on: a restart repeats what came after the last one that is kept.
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
