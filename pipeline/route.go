package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// fetched is a segment that was read.
type fetched struct {
	sequence uint64
	at       time.Time // when it was published
	size     int
	room     int64  // that it has of the share
	trace    string // as bus.Message has it
	segment  *schema.Segment
}

// fetchedSegments is how many segments are read before the worker looks at them.
const fetchedSegments = 64

// A routing is a worker's reading and delivering, from one begin to the next. Its fields are of the
// goroutine of run alone.
type routing struct {
	*worker
	lease   *bus.Lease
	window  *window
	room    *claim
	results chan result
	flying  int // batches in flight, those among them that wait for a drain which refuses a record, too
	parked  atomic.Int32
	unpark  chan struct{} // has one when parked has changed
	stuck   bool          // all that waits is of operations with batches under way
	safe    time.Time     // until when the stream keeps what is not delivered
}

// A result is what became of a batch.
type result struct {
	batch *batch        // nil for the end of settle
	left  []sinks.Entry // as deliver gives them
	err   error
}

// route reads and delivers until something other than the drain fails, or something is to be given
// up.
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
	r := &routing{
		worker: w, lease: lease, room: &claim{share: w.share}, safe: lease.Progress().Safe,
		window: newWindow(w.keep, lease.Progress().Reached), results: make(chan result),
		unpark: make(chan struct{}, 1),
	}
	defer r.room.releaseAll()
	ctx, cancel := context.WithCancelCause(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait() // whoever begins anew counts anew
	defer cancel(nil)
	segments := make(chan fetched, fetchedSegments)
	fetching.Go(func() { w.fetch(ctx, cancel, reader, r.room, segments) }) // ends with ctx
	err = r.run(ctx, segments)
	cancel(err)
	for ; r.flying > 0; r.flying-- { // these end with ctx
		r.took(<-r.results)
	}
	for _, h := range r.window.held {
		if h.delivered {
			w.beyond[h.sequence] = h.skipped + h.records
		}
	}
	// Whoever goes on does not deliver it again. If this fails, it does.
	_ = w.save(context.WithoutCancel(ctx), lease, r.safe)
	return err
}

// run reads and delivers until something fails, or another process is to go on and nothing is under
// way.
func (r *routing) run(ctx context.Context, segments <-chan fetched) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	wanted, leaving := r.lease.Wanted(), false
	settled := time.Now()
	for {
		if leaving && r.flying == 0 {
			return bus.ErrLeaseWanted
		}
		var slot <-chan struct{}
		var wait <-chan time.Time
		if !leaving && r.wants() {
			if due := r.ripe(); due <= 0 {
				slot = r.slots
			} else {
				wait = time.After(due)
			}
		}
		select {
		case f := <-segments:
			r.add(f)
		case <-slot:
			r.addAll(segments)
			r.start(ctx)
		case <-wait:
		case <-r.unpark:
		case done := <-r.results:
			r.flying--
			if err := r.took(done); err != nil {
				return err
			}
		case <-tick.C:
			if r.state.caughtUp() {
				r.safe = r.keep.safeAt(time.Now())
			}
			if err := r.save(ctx, r.lease, r.safe); err != nil {
				return err
			}
			if now := time.Now(); r.drain.Unconfirmed && !leaving && now.Sub(settled) >= settleEvery {
				settled = now
				r.settle(ctx)
			}
		case <-wanted:
			leaving, wanted = true, nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settleEvery is how often a sink whose drain confirms nothing is asked for records that are lost.
const settleEvery = time.Second

// settle has the sink deliver again what it has found out to be lost, if there is nothing else to
// deliver.
func (r *routing) settle(ctx context.Context) {
	if r.flying > 0 || len(r.window.waiting) > 0 {
		return
	}
	select {
	case <-r.slots:
	default:
		return
	}
	r.flying++
	go func() { // ends when the drain has all, or with ctx
		d := delivery{worker: r.worker}
		d.settle(ctx)
		d.end()
		r.slots <- struct{}{}
		r.results <- result{}
	}()
}

// parkedMost bounds how many batches wait at a time with a record that the drain refuses, while
// others are tried.
const parkedMost = 4

// wants says whether another batch is to be written. Beside those in flight it has to be worth a
// write of its own, and a drain that fails is tried by those alone.
func (r *routing) wants() bool {
	if len(r.window.waiting) == 0 || r.stuck {
		return false
	}
	parked := int(r.parked.Load())
	return r.flying == parked && parked < parkedMost || r.window.records >= r.drain.worthRecords() && !r.failing.Load()
}

// ripe is how long the segments that wait are to wait for more.
func (r *routing) ripe() time.Duration {
	if r.drain.BatchWait == 0 || r.window.records >= r.drain.mostRecords() {
		return 0
	}
	return time.Until(r.window.waiting[0].read.Add(r.drain.BatchWait))
}

// addAll takes what was read meanwhile.
func (r *routing) addAll(segments <-chan fetched) {
	for {
		select {
		case f := <-segments:
			r.add(f)
		default:
			return
		}
	}
}

func (r *routing) add(f fetched) {
	skipped := min(r.beyond[f.sequence], len(f.segment.Records)) // the drain has them
	f.segment.Records = f.segment.Records[skipped:]
	h := r.window.add(f, time.Now())
	h.skipped = skipped
	r.stuck = false
	switch {
	case h.delivered:
		r.room.release(f.room)
		r.advance(1, skipped)
	case skipped > 0:
		r.advance(0, skipped)
	}
	r.lookAtFirst()
}

// start has a batch written, by the slot that was taken for it.
func (r *routing) start(ctx context.Context) {
	records, bytes := r.drain.mostRecords(), r.drain.mostBytes()
	if r.drain.Alone { // each write gets a part of what there is
		free := max(1, cap(r.slots)-r.flying+int(r.parked.Load())) // what is under way may have ended just now
		records = min(records, (r.window.records+free-1)/free)
	}
	b := r.window.next(records, r.share.pace.bytes(bytes))
	if b == nil {
		r.stuck = true
		r.slots <- struct{}{}
		return
	}
	r.flying++
	go func() { // ends when the batch is delivered, or with ctx
		span := r.trace(b)
		slot := true
		d := delivery{worker: r.worker, span: span, due: b.due, park: func(ctx context.Context, parked bool) { slot = r.park(ctx, parked) }}
		left, err := d.deliver(ctx, b.entries)
		d.end()
		span.End(tracing.Result(err, "not delivered"))
		if slot {
			r.slots <- struct{}{}
		}
		r.results <- result{b, left, err}
	}()
}

// park gives back the slot of a batch that waits or, afterwards, takes one again, which fails only
// at the end of ctx. It reports whether the batch has a slot.
func (r *routing) park(ctx context.Context, parked bool) (slot bool) {
	if parked {
		r.parked.Add(1)
		r.slots <- struct{}{}
	} else {
		select {
		case <-r.slots:
			slot = true
		case <-ctx.Done():
		}
		r.parked.Add(-1)
	}
	select {
	case r.unpark <- struct{}{}:
	default:
	}
	return slot
}

// took takes the result of a batch.
func (r *routing) took(done result) error {
	b := done.batch
	if b == nil {
		return nil
	}
	if done.err != nil {
		r.note(b.entries, done.left)
		b.split(done.left, r.beyond)
		return done.err
	}
	r.forget(b.entries)
	r.measure(b)
	segments, records := len(b.segments), len(b.entries)
	for _, h := range b.segments {
		r.room.release(h.room)
		r.share.reuse(h.fetched.segment)
	}
	r.window.done(b)
	r.stuck = false
	r.advance(segments, records)
	r.lookAtFirst()
	return nil
}

// advance notes that so many more segments, with so many records, are at the drain, and moves the
// position as far as that goes.
func (r *routing) advance(segments, records int) {
	if last := r.window.pass(); last != nil {
		r.delivered.Store(last.sequence)
		r.passed(last.sequence)
		r.safe = r.keep.safeAt(last.at)
	}
	r.state.delivered(r.delivered.Load(), segments, records)
}

// lookAtFirst notes of when the first segment is that the drain does not have.
func (r *routing) lookAtFirst() {
	if len(r.window.held) > 0 {
		first := r.window.held[0]
		r.safe = r.keep.safeAt(first.at)
		r.state.found(time.Unix(0, first.shown))
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

// measure observes a batch that was delivered, once for all of it.
func (r *routing) measure(b *batch) {
	r.series.batchRecords.Observe(float64(len(b.entries)))
	r.series.batchBytes.Observe(float64(b.size))
	if b.segments[0].sequence > r.window.reached { // the drain did not have it before
		measure.Since(r.series.route, b.stored)
		measure.Since(r.series.latency, time.Unix(0, b.shown))
	}
}

// fetch ends with ctx, or when the stream can't be read.
func (w *worker) fetch(ctx context.Context, cancel context.CancelCauseFunc, reader *bus.Reader, room *claim, segments chan<- fetched) {
	var decoder schema.Decoder
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			cancel(err)
			return
		}
		w.state.waiting(m)
		taken, err := room.take(ctx, m) // before there are records to keep
		if err != nil {
			return
		}
		segment := w.share.blank()
		err = decoder.SegmentInto(segment, m.Data)
		if errors.Is(err, schema.ErrCorrupt) {
			w.corrupt(m, err)
			w.state.passedOver(m)
			room.release(taken)
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
		f := fetched{m.Sequence, m.Time, len(m.Data), taken, m.Trace, segment}
		select {
		case segments <- f:
			w.state.handedOver()
		case <-ctx.Done():
			return
		}
	}
}

func (w *worker) corrupt(m bus.Message, err error) {
	w.log.Error("a message on the LOGS stream can't be read and is passed over", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	w.metrics.Corrupt.Inc()
}
