package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// tickEvery is how often positions are kept and lines are looked at for their age.
	tickEvery = 250 * time.Millisecond
	// aheadGrace is how long a chunk waits for one before it that the stream refused at first. The
	// capture gives up sooner. Time in which the enricher has not read all of TTY does not count.
	aheadGrace = 30 * time.Second
	// idleAfter is how long an operation that shows nothing is kept in memory.
	idleAfter = 5 * time.Minute
	// fullWait is the time until a segment is published again for which LOGS had no room, and
	// fullAgain after how long with room a lack of it is reported again.
	fullWait, fullAgain = 250 * time.Millisecond, time.Minute
	// maxBacklog is how many bytes of finished records may wait for LOGS, per partition.
	maxBacklog = 16 << 20
	// maxHeld is how many bytes of an operation's chunks may wait for one before them. A capture is
	// never that far ahead of what the stream has taken.
	maxHeld = 4 << 20
	// maxHeldStart is the same of chunks that wait for the operation's start: a capture has one other
	// chunk under way before that is stored.
	maxHeldStart = 512 << 10
	// maxOperations is how many operations are kept in memory, per partition, besides those that have
	// something to publish: what is known of the others can be read again from LOGS.
	maxOperations = 4096
)

// EnricherOptions of an [Enricher]. All but Tracer are needed.
type EnricherOptions struct {
	Bus *bus.Bus
	// Signer signs the ends of sessions.
	Signer enrich.Signer
	// Document makes an expired user document, for an operation whose own is refused.
	Document func(schema.User) (string, error)
	Metrics  *Metrics
	Tracer   *tracing.Tracer
	Log      *slog.Logger
}

// An Enricher turns chunks into segments.
type Enricher struct {
	o          EnricherOptions
	partitions []enriched
}

// enriched is how far a partition is enriched.
type enriched struct {
	settled atomic.Uint64 // sequence on TTY up to which all finished records are on LOGS
	working atomic.Bool   // this process has the lease
}

// NewEnricher makes an enricher.
func NewEnricher(o EnricherOptions) *Enricher {
	return &Enricher{o: o, partitions: make([]enriched, o.Bus.Partitions())}
}

// Run enriches until ctx is done, whatever happens; then it returns nil.
func (e *Enricher) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { e.reclaimer().run(ctx); return nil })
	for i := range e.partitions {
		g.Go(func() error {
			retry := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(10*time.Second))
			for {
				worked, err := e.enrich(ctx, i)
				if ctx.Err() != nil {
					return nil
				}
				if errors.Is(err, bus.ErrLeaseWanted) {
					e.o.Log.Info("another process goes on with this part of the enriching", "partition", i)
					continue
				}
				if worked {
					retry.Reset()
				}
				wait := retry.NextBackOff()
				e.o.Log.Error("enriching stopped and starts again", "partition", i, "error", err, "wait", wait)
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// enrichLease is the name of the lease on a partition, and of its position.
func enrichLease(partition int) string { return "enrich." + strconv.Itoa(partition) }

// enrich works on a partition as long as its lease, and nothing fails.
func (e *Enricher) enrich(ctx context.Context, partition int) (worked bool, err error) {
	lease, err := e.o.Bus.Acquire(ctx, enrichLease(partition))
	if err != nil {
		return false, err
	}
	defer lease.Release()
	e.partitions[partition].working.Store(true)
	defer e.partitions[partition].working.Store(false)
	e.o.Metrics.enriching.Inc()
	defer e.o.Metrics.enriching.Dec()
	p := &enriching{
		o: e.o, partition: partition, enriched: &e.partitions[partition], lease: lease,
		operations: make(map[string]*operation), missingStart: make(map[string]bool), published: make(chan published, 64),
		log: e.o.Log.With("partition", partition),
	}
	err = p.run(ctx)
	return p.worked, err
}

// Drain waits until every chunk that was on TTY when it was called is enriched, as far as its lines
// are finished, and this process does the partition's work.
func (e *Enricher) Drain(ctx context.Context) error {
	end, err := e.o.Bus.End(ctx, schema.StreamTTY)
	if err != nil {
		return err
	}
	for i := range e.partitions {
		after := func() uint64 {
			if !e.partitions[i].working.Load() {
				return end
			}
			return e.partitions[i].settled.Load()
		}
		if err := e.o.Bus.WaitFor(ctx, schema.StreamTTY, []string{schema.FilterTTY(i)}, end, after); err != nil {
			return err
		}
	}
	return nil
}

// enriching is the enricher's work on one partition, from one start to the next. It is for one
// goroutine.
type enriching struct {
	o         EnricherOptions
	partition int
	lease     *bus.Lease
	enriched  *enriched
	log       *slog.Logger

	decoder      schema.Decoder
	buffers      enrich.Buffers        // of all operations
	chunk        schema.Chunk          // of the message at hand
	operations   map[string]*operation // by subject on TTY
	missingStart map[string]bool       // subjects on TTY of operations whose start is not there
	published    chan published
	read         uint64       // sequence of the last chunk read
	backlog      int          // bytes of the finished records of all operations
	flying       int          // segments under way
	worked       bool         // something was published
	fullSince    atomic.Int64 // when LOGS had no room, last, in Unix seconds
}

type published struct {
	operation *operation
	sequence  uint64 // on LOGS
	err       error
}

func (p *enriching) run(ctx context.Context) error {
	p.read = p.lease.Position()
	ctx, cancel := p.lease.Within(ctx)
	defer cancel(nil)
	reader, err := p.o.Bus.Read(ctx, schema.StreamTTY, []string{schema.FilterTTY(p.partition)}, p.read)
	if err != nil {
		return err
	}
	defer reader.Close()
	messages := make(chan bus.Message, 64)
	go func() { // ends with ctx, or when the stream can't be read
		for {
			m, err := reader.Next(ctx)
			if err != nil {
				cancel(err)
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer p.save(context.WithoutCancel(ctx))
	leaving := false
	for {
		in, wanted := messages, p.lease.Wanted()
		if p.backlog > maxBacklog || leaving {
			in = nil
		}
		if leaving {
			if p.flying == 0 { // so that nothing that comes late fences the next one off
				return bus.ErrLeaseWanted
			}
			wanted = nil
		}
		select {
		case <-wanted:
			leaving = true
		case m := <-in:
			err = p.add(ctx, m)
		case done := <-p.published:
			err = p.confirmed(ctx, done)
		case now := <-tick.C:
			err = p.tick(ctx, now)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		p.report()
	}
}

// add enriches one chunk. Only then it counts as read: an error must not let the position pass it.
func (p *enriching) add(ctx context.Context, m bus.Message) error {
	if err := p.enrich(ctx, m); err != nil {
		return err
	}
	p.read = m.Sequence
	return nil
}

func (p *enriching) enrich(ctx context.Context, m bus.Message) error {
	now := time.Now()
	if err := schema.DecodeChunk(m.Data, &p.chunk); err != nil {
		return p.skip(m, err)
	}
	op, ok := p.operations[m.Subject]
	if !ok {
		op = &operation{subject: schema.LogsOf(m.Subject)}
		p.operations[m.Subject] = op
	}
	op.touched = now
	p.o.Metrics.Chunks.Inc()
	if op.transcript == nil {
		switch err := p.open(ctx, op); {
		case errors.Is(err, schema.ErrCorrupt):
			p.forget(m.Subject)
			return p.skip(m, err)
		case err != nil:
			return err
		case op.transcript == nil && p.missingStart[m.Subject]:
			p.forget(m.Subject)
			return p.skip(m, errMissingStart)
		case op.transcript == nil:
			p.hold(op, m, now)
			if !op.onLogs && op.heldBytes > maxHeldStart {
				return p.passOver(ctx, m.Subject, op)
			}
			return nil
		}
		delete(p.missingStart, m.Subject)
	}
	switch err := p.apply(op, m, now); {
	case errors.Is(err, enrich.ErrAhead):
		p.hold(op, m, now)
		if op.heldBytes > maxHeld {
			if err := p.giveUp(op, now); err != nil {
				return err
			}
		}
	case errors.Is(err, schema.ErrCorrupt):
		return p.skip(m, err)
	case err != nil:
		return err
	default:
		if err := p.release(op, now); err != nil {
			return err
		}
	}
	return p.publish(ctx, op)
}

// skip passes over a message that is no chunk. The chunk behind it shows what is missing.
func (p *enriching) skip(m bus.Message, err error) error {
	if errors.Is(err, schema.ErrVersion) {
		return err
	}
	p.log.Error("a message on the TTY stream can't be read and is passed over", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	p.o.Metrics.Corrupt.Inc()
	return nil
}

// publish sends an operation's next segment, of which one at a time is under way: lines that are
// finished meanwhile go into the next one together.
func (p *enriching) publish(ctx context.Context, op *operation) error {
	if op.flying != nil || !op.transcript.Ready() {
		return nil
	}
	segment, err := op.transcript.Take()
	if err != nil {
		return err
	}
	op.flying = &segment
	p.flying++
	p.account(op)
	op.span = p.trace(op)
	last, phi, span := op.last, op.transcript.Operation().PHI, op.span
	send := func() *bus.Publish {
		return p.o.Bus.PublishSegment(op.subject, last, segment.Records, phi, segment.Data, bus.Traced(span.Traceparent()))
	}
	under := send()
	go func() { // ends with the acknowledgement, which has a time limit unless LOGS is full, or with ctx
		sequence, err := under.Wait(ctx)
		for errors.Is(err, bus.ErrFull) && p.full(ctx, err) {
			sequence, err = send().Wait(ctx)
		}
		select {
		case p.published <- published{op, sequence, err}:
		case <-ctx.Done():
		}
	}()
	return nil
}

// full waits until it is worth another attempt to publish to LOGS, which has no room now; it is
// false where ctx is done. Nothing is lost: chunks wait on TTY meanwhile.
func (p *enriching) full(ctx context.Context, err error) bool {
	if since := p.fullSince.Swap(time.Now().Unix()); time.Now().Unix()-since > int64(fullAgain.Seconds()) {
		p.log.Error("the LOGS stream has no room: enriching waits", "error", err)
	}
	select {
	case <-time.After(fullWait):
		return true
	case <-ctx.Done():
		return false
	}
}

// trace starts the span of the segment that is about to be published, where a chunk of it is
// traced.
func (p *enriching) trace(op *operation) *tracing.Span {
	var from []string
	for _, s := range op.sources {
		if s.trace != "" {
			from = append(from, s.trace)
		}
		if !op.flying.Position.Reaches(s.end) {
			break // what comes behind it is in no segment yet
		}
	}
	if len(from) == 0 {
		return nil
	}
	span := p.o.Tracer.Follow("enrich", from, op.sources[0].at)
	span.Text("operation", op.transcript.Operation().ID)
	span.Number("partition", p.partition)
	span.Number("records", op.flying.Records)
	span.Number("bytes", len(op.flying.Data))
	return span
}

// confirmed takes note of a published segment.
func (p *enriching) confirmed(ctx context.Context, done published) error {
	op := done.operation
	op.span.End(tracing.Result(done.err, "not published"))
	op.span = nil
	if done.err != nil {
		return fmt.Errorf("publish a segment of operation %s: %w", op.transcript.Operation().ID, done.err)
	}
	p.worked = true
	p.o.Metrics.Segments.Inc()
	p.o.Metrics.Records.Add(float64(op.flying.Records))
	op.published = op.flying.Position
	if len(op.sources) > 0 {
		measure.Since(p.o.Metrics.enriched, op.sources[0].at)
	}
	n := 0
	for n < len(op.sources) && op.published.Reaches(op.sources[n].end) {
		n++
	}
	op.sources = op.sources[n:]
	op.last = done.sequence
	p.buffers.Put(op.flying.Data) // which the bus has let go of
	op.flying = nil
	p.flying--
	p.account(op)
	return p.publish(ctx, op)
}

// tick cuts old lines, looks again for what chunks wait for, forgets idle operations and keeps the
// position.
func (p *enriching) tick(ctx context.Context, now time.Time) error {
	for subject, op := range p.operations {
		if op.transcript == nil {
			if err := p.openLater(ctx, subject, op, now); err != nil {
				return err
			}
			if op.transcript == nil {
				continue
			}
		}
		op.transcript.Expire(now)
		if missing, err := p.isMissing(ctx, op, now); err != nil {
			return err
		} else if missing {
			if err := p.giveUp(op, now); err != nil {
				return err
			}
		}
		p.account(op)
		if err := p.publish(ctx, op); err != nil {
			return err
		}
		idle := len(op.sources) == 0 && len(op.held) == 0 && op.flying == nil && !op.transcript.Ready()
		if idle && (op.transcript.Ended() || now.Sub(op.touched) > idleAfter || len(p.operations) > maxOperations) {
			delete(p.operations, subject)
		}
	}
	return p.save(ctx)
}

// position is the sequence on TTY up to which every byte is published.
func (p *enriching) position() uint64 {
	position := p.read
	for _, op := range p.operations {
		for _, s := range op.sources {
			position = min(position, s.sequence-1)
		}
		for _, h := range op.held {
			position = min(position, h.Sequence-1)
		}
	}
	return position
}

func (p *enriching) save(ctx context.Context) error {
	if position := p.position(); position != p.lease.Position() {
		// Without room for it, the work goes on: a restart begins further back, and finds what is done on
		// LOGS.
		if err := p.lease.Save(ctx, position); !errors.Is(err, bus.ErrFull) {
			return err
		}
	}
	return nil
}

// report tells Drain how far the work is.
func (p *enriching) report() {
	if p.flying == 0 && p.backlog == 0 {
		p.enriched.settled.Store(p.read)
	}
}
