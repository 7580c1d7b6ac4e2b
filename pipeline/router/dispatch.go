package router

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

const (
	// saveInterval is the time between two saves of the position.
	saveInterval = 250 * time.Millisecond
	// settleInterval is the time between two requests for lost records to a sink whose protocol has no
	// acknowledgements.
	settleInterval = time.Second
	// maxParked bounds how many batches with a record that the drain refuses wait at a time while
	// others are written.
	maxParked = 4
)

// A dispatcher reads segments from LOGS into a window, and hands batches of them to the deliverer.
// It is made for one run. Only the goroutine of run uses its fields, except parked and unparked.
type dispatcher struct {
	target      *target
	position    *position
	deliverer   *deliverer
	quota       *quota
	slots       chan struct{} // tokens of concurrent writes: see quota.workerSlots
	status      *status
	window      *window
	reservation *reservation
	results     chan result
	inFlight    int // batches, including parked ones
	parked      atomic.Int32
	unparked    chan struct{} // has one when parked has changed
	blocked     bool          // the operations of all pending segments have batches in flight
	safe        time.Time     // until when the stream keeps all undelivered segments
}

// A result is the outcome of a batch.
type result struct {
	batch *batch        // nil for the end of settle
	left  []sinks.Entry // as deliverer.Deliver returns them
	err   error
}

func newDispatcher(p *position, d *deliverer, slots chan struct{}) *dispatcher {
	progress := p.lease.Progress()
	return &dispatcher{
		target: p.target, position: p, deliverer: d, quota: d.quota, slots: slots, status: d.status,
		window:      newWindow(p.target.retention, progress.Reached),
		reservation: &reservation{quota: d.quota}, results: make(chan result), unparked: make(chan struct{}, 1),
		safe: progress.Safe,
	}
}

// run reads and delivers from the position on, until ctx is done, something other than the drain
// fails, segments have to be abandoned, or another process is to take over. It saves the position.
func (d *dispatcher) run(ctx context.Context) error {
	t := d.target
	reader, err := t.bus.Read(ctx, schema.StreamLogs, t.filters, d.position.lease.Position())
	if err != nil {
		return err
	}
	defer reader.Close()
	d.status.reading(reader.Pending())
	defer d.reservation.releaseAll()
	ctx, cancel := context.WithCancelCause(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait() // the next run counts anew
	defer cancel(nil)
	segments := make(chan fetched, readAhead)
	fetching.Go(func() { d.fetch(ctx, cancel, reader, segments) }) // ends with ctx
	err = d.loop(ctx, segments)
	cancel(err)
	for ; d.inFlight > 0; d.inFlight-- { // these end with ctx
		d.onResult(<-d.results)
	}
	for _, s := range d.window.segments {
		if s.delivered {
			d.position.ahead[s.sequence] = s.skipped + s.records
		}
	}
	// If this fails, the next worker repeats all deliveries since the last save.
	_ = d.position.save(context.WithoutCancel(ctx), d.safe)
	return err
}

// loop is run until something ends it.
func (d *dispatcher) loop(ctx context.Context, segments <-chan fetched) error {
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	handover, leaving := d.position.lease.Handover(), false
	settled := time.Now()
	for {
		if leaving && d.inFlight == 0 {
			return bus.ErrHandover
		}
		var slot <-chan struct{}
		var lingered <-chan time.Time
		if !leaving && d.shouldDispatch() {
			if linger := d.lingerRemaining(); linger <= 0 {
				slot = d.slots
			} else {
				lingered = time.After(linger)
			}
		}
		select {
		case f := <-segments:
			d.add(f)
		case <-slot:
			d.addAll(segments)
			d.dispatch(ctx)
		case <-lingered:
		case <-d.unparked:
		case r := <-d.results:
			d.inFlight--
			if err := d.onResult(r); err != nil {
				return err
			}
		case <-tick.C:
			if d.status.caughtUp() {
				d.safe = d.target.retention.safeUntil(time.Now())
			}
			if err := d.position.save(ctx, d.safe); err != nil {
				return err
			}
			if now := time.Now(); d.target.drain.Unconfirmed && !leaving && now.Sub(settled) >= settleInterval {
				settled = now
				d.settle(ctx)
			}
		case <-handover:
			leaving, handover = true, nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle has the sink redeliver lost records, if nothing else is to be delivered.
func (d *dispatcher) settle(ctx context.Context) {
	if d.inFlight > 0 || len(d.window.pending) > 0 {
		return
	}
	select {
	case <-d.slots:
	default:
		return
	}
	d.inFlight++
	go func() { // ends when the drain has all records, or with ctx
		d.deliverer.Settle(ctx)
		d.slots <- struct{}{}
		d.results <- result{}
	}()
}

// shouldDispatch reports whether another batch may be written now. Beside batches in flight it has
// to be large enough for a write of its own, and a failing drain gets no further batches.
func (d *dispatcher) shouldDispatch() bool {
	if len(d.window.pending) == 0 || d.blocked {
		return false
	}
	parked := int(d.parked.Load())
	return d.inFlight == parked && parked < maxParked ||
		d.window.records >= d.target.drain.ConcurrentRecords() && !d.status.failing.Load()
}

// lingerRemaining returns how long the pending segments still wait for more.
func (d *dispatcher) lingerRemaining() time.Duration {
	if d.target.drain.BatchWait == 0 || d.window.records >= d.target.drain.MaxRecords() {
		return 0
	}
	return time.Until(d.window.pending[0].read.Add(d.target.drain.BatchWait))
}

// addAll adds the segments that were read meanwhile.
func (d *dispatcher) addAll(segments <-chan fetched) {
	for {
		select {
		case f := <-segments:
			d.add(f)
		default:
			return
		}
	}
}

// add adds a segment to the window, without the records that were delivered ahead of the position.
func (d *dispatcher) add(f fetched) {
	skipped := min(d.position.ahead[f.sequence], len(f.segment.Records))
	f.segment.Records = f.segment.Records[skipped:]
	s := d.window.add(f, time.Now())
	s.skipped = skipped
	d.blocked = false
	switch {
	case s.delivered:
		d.reservation.release(f.memory)
		d.advance(1, skipped)
	case skipped > 0:
		d.advance(0, skipped)
	}
	d.updateOldest()
}

// dispatch has a batch written, with the slot that was taken for it.
func (d *dispatcher) dispatch(ctx context.Context) {
	records, bytes := d.target.drain.MaxRecords(), d.target.drain.MaxBytes()
	if d.target.drain.Alone { // divide the records among the free slots
		free := max(1, cap(d.slots)-d.inFlight+int(d.parked.Load())) // a batch may have ended just now
		records = min(records, (d.window.records+free-1)/free)
	}
	b := d.window.next(records, d.quota.pace.bytes(bytes))
	if b == nil {
		d.blocked = true
		d.slots <- struct{}{}
		return
	}
	d.inFlight++
	go func() { // ends when the batch is delivered, or with ctx
		delivery := d.deliverer.newDelivery(b.deadline)
		delivery.span = d.trace(b)
		slot := true
		delivery.park = func(ctx context.Context, parked bool) { slot = d.park(ctx, parked) }
		left, err := delivery.run(ctx, b.entries)
		delivery.span.End(tracing.Result(err, "not delivered"))
		if slot {
			d.slots <- struct{}{}
		}
		d.results <- result{b, left, err}
	}()
}

// park returns the slot of a batch that waits or, afterwards, takes one again, which fails only
// when ctx is done. It reports whether the batch has a slot.
func (d *dispatcher) park(ctx context.Context, parked bool) (slot bool) {
	if parked {
		d.parked.Add(1)
		d.slots <- struct{}{}
	} else {
		select {
		case <-d.slots:
			slot = true
		case <-ctx.Done():
		}
		d.parked.Add(-1)
	}
	select {
	case d.unparked <- struct{}{}:
	default:
	}
	return slot
}

// onResult handles the result of a batch.
func (d *dispatcher) onResult(r result) error {
	b := r.batch
	if b == nil {
		return nil
	}
	if r.err != nil {
		d.position.mark(b.entries, r.left)
		b.split(r.left, d.position.ahead)
		return r.err
	}
	d.position.unmark(b.entries)
	d.measure(b)
	segments, records := len(b.segments), len(b.entries)
	for _, s := range b.segments {
		d.reservation.release(s.memory)
		d.quota.recycle(s.fetched.segment)
	}
	d.window.done(b)
	d.blocked = false
	d.advance(segments, records)
	d.updateOldest()
	return nil
}

// advance counts delivered segments and records, and moves the position past the segments before
// the first undelivered one.
func (d *dispatcher) advance(segments, records int) {
	if last := d.window.pass(); last != nil {
		d.position.move(last.sequence)
		d.safe = d.target.retention.safeUntil(last.published)
	}
	d.status.delivered(d.position.delivered.Load(), segments, records)
}

// updateOldest updates what depends on the first segment that is not delivered.
func (d *dispatcher) updateOldest() {
	if len(d.window.segments) > 0 {
		first := d.window.segments[0]
		d.safe = d.target.retention.safeUntil(first.published)
		d.status.setOldest(time.Unix(0, first.shown))
	}
}

// trace starts the span of a batch, if a segment of it is traced.
func (d *dispatcher) trace(b *batch) *tracing.Span {
	if len(b.traces) == 0 {
		return nil
	}
	span := d.target.tracer.Follow("drain", b.traces, time.Now())
	span.Text("drain", d.target.drain.Name)
	span.Number("partition", d.target.partition)
	span.Number("records", len(b.entries))
	span.Number("bytes", b.size)
	return span
}

// measure observes a delivered batch, once for all of its records.
func (d *dispatcher) measure(b *batch) {
	series := d.target.series
	series.batchRecords.Observe(float64(len(b.entries)))
	series.batchBytes.Observe(float64(b.size))
	if b.segments[0].sequence > d.window.reached { // it was never delivered before
		measure.Since(series.route, b.stored)
		measure.Since(series.latency, time.Unix(0, b.shown))
	}
}

// fetch reads segments until ctx is done, or the stream cannot be read.
func (d *dispatcher) fetch(ctx context.Context, cancel context.CancelCauseFunc, reader *bus.Reader, segments chan<- fetched) {
	t := d.target
	var decoder schema.Decoder
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			cancel(err)
			return
		}
		d.status.waiting(m)
		memory, err := d.reservation.acquire(ctx, m) // before the records are decoded
		if err != nil {
			return
		}
		segment := d.quota.blankSegment()
		err = decoder.SegmentInto(segment, m.Data)
		if errors.Is(err, schema.ErrCorrupt) {
			t.skipCorrupt(m, err)
			d.status.skipped(m)
			d.reservation.release(memory)
			continue
		}
		if err != nil {
			cancel(err)
			return
		}
		if !t.mayReceive(segment.Operation) {
			t.series.withheld.Add(float64(len(segment.Records)))
			segment.Records = nil // the position moves past the segment
		}
		d.status.read(m, len(segment.Records))
		t.series.received.Add(float64(len(segment.Records)))
		f := fetched{m.Sequence, m.Time, len(m.Data), memory, m.Trace, segment}
		select {
		case segments <- f:
			d.status.handedOver()
		case <-ctx.Done():
			return
		}
	}
}
