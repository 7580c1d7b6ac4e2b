package enricher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// tickInterval is the time between two saves of the position, and checks of the age of lines.
	tickInterval = 250 * time.Millisecond
	// missingAfter is the time for which a chunk waits for a predecessor that the stream refused at
	// first. Capture gives up sooner. Time in which TTY has unread messages does not count.
	missingAfter = 30 * time.Second
	// idleAfter is the time for which an operation without output is kept in memory.
	idleAfter = 5 * time.Minute
	// fullRetry is the wait before a segment is published again for which LOGS had no space, and
	// fullQuiet how long LOGS must have had space before a lack of it is logged again.
	fullRetry, fullQuiet = 250 * time.Millisecond, time.Minute
	// maxBacklog bounds the bytes of finished records that wait for LOGS, per partition.
	maxBacklog = 16 << 20
	// maxPending bounds the bytes of an operation's out-of-order chunks. Capture is never that far
	// ahead of what the stream has stored.
	maxPending = 4 << 20
	// maxPendingStart bounds the bytes of chunks that wait for the operation's start: capture has one
	// other chunk in flight before that is stored.
	maxPendingStart = 512 << 10
	// maxOperations bounds the operations in memory, per partition, except for those with something to
	// publish: the others can be restored from LOGS.
	maxOperations = 4096
)

// A partition is the enricher's work on one partition during one tenure of its lease. It is for one
// goroutine, except for fullSince.
type partition struct {
	o        Options
	number   int
	lease    *bus.Lease
	progress *partitionProgress
	log      *slog.Logger

	decoder      schema.Decoder
	buffers      enrich.Buffers        // of all operations
	chunk        schema.Chunk          // of the current message
	operations   map[string]*operation // by subject on TTY
	missingStart map[string]bool       // subjects on TTY of operations without a start
	published    chan published
	read         uint64       // sequence of the last chunk read
	backlog      int          // bytes of the finished records of all operations
	inFlight     int          // segments
	progressed   bool         // something was published
	fullSince    atomic.Int64 // when LOGS last had no space, in Unix seconds
}

// published is the outcome of publishing a segment.
type published struct {
	operation *operation
	sequence  uint64 // on LOGS
	err       error
}

func newPartition(o Options, number int, lease *bus.Lease, progress *partitionProgress) *partition {
	return &partition{
		o: o, number: number, lease: lease, progress: progress, log: o.Log.With("partition", number),
		operations: make(map[string]*operation), missingStart: make(map[string]bool), published: make(chan published, 64),
		read: lease.Position(),
	}
}

// run enriches until ctx is done, something fails, or another process is to take over.
func (p *partition) run(ctx context.Context) error {
	ctx, cancel := p.lease.Within(ctx)
	defer cancel(nil)
	reader, err := p.o.Bus.Read(ctx, schema.StreamTTY, []string{schema.FilterTTY(p.number)}, p.read)
	if err != nil {
		return err
	}
	defer reader.Close()
	messages := make(chan bus.Message, 64)
	go func() { // ends with ctx, or when the stream cannot be read
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
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	defer p.save(context.WithoutCancel(ctx))
	leaving := false
	for {
		in, handover := messages, p.lease.Handover()
		if p.backlog > maxBacklog || leaving {
			in = nil
		}
		if leaving {
			if p.inFlight == 0 { // otherwise a late segment would fence the next enricher
				return bus.ErrHandover
			}
			handover = nil
		}
		select {
		case <-handover:
			leaving = true
		case m := <-in:
			err = p.add(ctx, m)
		case done := <-p.published:
			err = p.onPublished(ctx, done)
		case now := <-tick.C:
			err = p.tick(ctx, now)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		p.updateProgress()
	}
}

// add enriches one chunk. Only then does the chunk count as read: the position must not pass it
// after an error.
func (p *partition) add(ctx context.Context, m bus.Message) error {
	if err := p.enrich(ctx, m); err != nil {
		return err
	}
	p.read = m.Sequence
	return nil
}

func (p *partition) enrich(ctx context.Context, m bus.Message) error {
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
	p.o.Metrics.chunks.Inc()
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
			p.postpone(op, m, now)
			if !op.onLogs && op.pendingBytes > maxPendingStart {
				return p.skipPending(ctx, m.Subject, op)
			}
			return nil
		}
		delete(p.missingStart, m.Subject)
	}
	switch err := p.apply(op, m, now); {
	case errors.Is(err, enrich.ErrAhead):
		p.postpone(op, m, now)
		if op.pendingBytes > maxPending {
			if err := p.giveUp(op, now); err != nil {
				return err
			}
		}
	case errors.Is(err, schema.ErrCorrupt):
		return p.skip(m, err)
	case err != nil:
		return err
	default:
		if err := p.applyPending(op, now); err != nil {
			return err
		}
	}
	return p.publish(ctx, op)
}

// skip skips a message that is not a chunk. The next chunk shows the gap.
func (p *partition) skip(m bus.Message, err error) error {
	if errors.Is(err, schema.ErrVersion) {
		return err
	}
	p.log.Error("skipping an unreadable message on the TTY stream", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	p.o.Metrics.corrupt.Inc()
	return nil
}

// publish publishes an operation's next segment, unless one is in flight: lines that are finished
// meanwhile share the next one.
func (p *partition) publish(ctx context.Context, op *operation) error {
	if op.inFlight != nil || !op.transcript.Ready() {
		return nil
	}
	segment, err := op.transcript.Take()
	if err != nil {
		return err
	}
	op.inFlight = &segment
	p.inFlight++
	p.account(op)
	op.span = p.trace(op)
	last, phi, span := op.last, op.transcript.Operation().PHI, op.span
	send := func() *bus.Publish {
		return p.o.Bus.PublishSegment(op.subject, last, segment.Records, phi, segment.Data, bus.Traced(span.Traceparent()))
	}
	sent := send()
	go func() { // ends with the acknowledgement, which has a time limit unless LOGS is full, or with ctx
		sequence, err := sent.Wait(ctx)
		for errors.Is(err, bus.ErrFull) && p.waitForSpace(ctx, err) {
			sequence, err = send().Wait(ctx)
		}
		select {
		case p.published <- published{op, sequence, err}:
		case <-ctx.Done():
		}
	}()
	return nil
}

// waitForSpace waits before another attempt to publish to LOGS, which is full. It returns false
// when ctx is done. Nothing is lost: chunks wait on TTY meanwhile.
func (p *partition) waitForSpace(ctx context.Context, err error) bool {
	if since := p.fullSince.Swap(time.Now().Unix()); time.Now().Unix()-since > int64(fullQuiet.Seconds()) {
		p.log.Error("the LOGS stream is full: enriching waits", "error", err)
	}
	select {
	case <-time.After(fullRetry):
		return true
	case <-ctx.Done():
		return false
	}
}

// trace starts the span of the segment in flight, if a chunk of it is traced.
func (p *partition) trace(op *operation) *tracing.Span {
	var from []string
	for _, s := range op.sources {
		if s.trace != "" {
			from = append(from, s.trace)
		}
		if !op.inFlight.Position.Reaches(s.end) {
			break // the next chunks are in no segment yet
		}
	}
	if len(from) == 0 {
		return nil
	}
	span := p.o.Tracer.Follow("enrich", from, op.sources[0].stored)
	span.Text("operation", op.transcript.Operation().ID)
	span.Number("partition", p.number)
	span.Number("records", op.inFlight.Records)
	span.Number("bytes", len(op.inFlight.Data))
	return span
}

// onPublished handles the outcome of publishing a segment.
func (p *partition) onPublished(ctx context.Context, done published) error {
	op := done.operation
	op.span.End(tracing.Result(done.err, "not published"))
	op.span = nil
	if done.err != nil {
		return fmt.Errorf("publish a segment of operation %s: %w", op.transcript.Operation().ID, done.err)
	}
	p.progressed = true
	p.o.Metrics.segments.Inc()
	p.o.Metrics.Records.Add(float64(op.inFlight.Records))
	op.published = op.inFlight.Position
	if len(op.sources) > 0 {
		measure.Since(p.o.Metrics.duration, op.sources[0].stored)
	}
	n := 0
	for n < len(op.sources) && op.published.Reaches(op.sources[n].end) {
		n++
	}
	op.sources = op.sources[n:]
	op.last = done.sequence
	p.buffers.Put(op.inFlight.Data) // the bus does not use it any more
	op.inFlight = nil
	p.inFlight--
	p.account(op)
	return p.publish(ctx, op)
}

// tick ends old lines, checks again for what chunks wait for, forgets idle operations and saves the
// position.
func (p *partition) tick(ctx context.Context, now time.Time) error {
	for subject, op := range p.operations {
		if op.transcript == nil {
			if err := p.retryOpen(ctx, subject, op, now); err != nil {
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
		idle := len(op.sources) == 0 && len(op.pending) == 0 && op.inFlight == nil && !op.transcript.Ready()
		if idle && (op.transcript.Ended() || now.Sub(op.touched) > idleAfter || len(p.operations) > maxOperations) {
			delete(p.operations, subject)
		}
	}
	return p.save(ctx)
}

// position returns the sequence on TTY up to which every byte is published.
func (p *partition) position() uint64 {
	position := p.read
	for _, op := range p.operations {
		for _, s := range op.sources {
			position = min(position, s.sequence-1)
		}
		for _, c := range op.pending {
			position = min(position, c.Sequence-1)
		}
	}
	return position
}

// save saves the position. Without space for it the work goes on: a restart begins further back,
// and finds the published segments on LOGS.
func (p *partition) save(ctx context.Context) error {
	if position := p.position(); position != p.lease.Position() {
		if err := p.lease.Save(ctx, position); !errors.Is(err, bus.ErrFull) {
			return err
		}
	}
	return nil
}

// updateProgress updates the progress that [Enricher.Drain] waits for.
func (p *partition) updateProgress() {
	if p.inFlight == 0 && p.backlog == 0 {
		p.progress.settled.Store(p.read)
	}
}
