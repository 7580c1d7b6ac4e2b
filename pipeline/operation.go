package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

// operation is one operation's enrichment.
type operation struct {
	// transcript is nil until the operation is open: until its start was read, or its last segment on
	// LOGS was found.
	transcript *enrich.Transcript
	subject    string // on LOGS
	last       uint64 // sequence on LOGS of its last segment
	flying     *enrich.Segment
	span       *tracing.Span   // of flying
	published  enrich.Progress // as far as it is on LOGS
	sources    []source        // in the order of the session, which is not always that of TTY
	held       []pendingChunk
	heldBytes  int  // of their data
	onLogs     bool // LOGS has a segment of it, although it is not open: a replica lags
	size       int  // its part of the backlog
	touched    time.Time
}

// source is a chunk that is not wholly published.
type source struct {
	sequence uint64    // on TTY
	at       time.Time // when it was stored there
	trace    string    // as bus.Message has it
	end      enrich.Progress
}

// pendingChunk is a chunk that came before its predecessor.
type pendingChunk struct {
	bus.Message
	since time.Time
}

// errMissingStart is the reason for which the chunks of an operation are passed over whose start is
// neither on TTY nor in a segment on LOGS.
var errMissingStart = fmt.Errorf("the operation's start is missing: %w", schema.ErrCorrupt)

// open opens the operation of the chunk at hand if it can: from its last segment on LOGS, or from
// the chunk if that has the start. Of an operation with pending chunks, LOGS is asked only where
// the chunk has the start; a tick asks again.
func (p *enriching) open(ctx context.Context, op *operation) error {
	if len(op.held) > 0 && p.chunk.Ordinal > 0 {
		return nil
	}
	if err := p.resume(ctx, op); err != nil || op.transcript != nil {
		return err
	}
	if p.chunk.Ordinal > 0 {
		return p.lookOnLogs(ctx, op)
	}
	start, err := p.chunk.Start()
	if err != nil {
		return err
	}
	transcript, err := enrich.New(start, p.o.Signer, time.Now())
	if errors.Is(err, enrich.ErrLiveDocument) || errors.Is(err, enrich.ErrBadDocument) {
		p.log.Error("a user document was refused and is replaced", "operation", start.ID, "error", err)
		p.o.Metrics.Refused.Inc()
		if start.UserDocument, err = p.o.Document(start.User); err != nil {
			return err
		}
		transcript, err = enrich.New(start, p.o.Signer, time.Now())
	}
	if err != nil {
		return err
	}
	op.transcript = transcript
	op.transcript.Use(&p.buffers)
	return nil
}

// resume opens an operation from its last segment, if LOGS has one.
func (p *enriching) resume(ctx context.Context, op *operation) error {
	last, ok, err := p.o.Bus.Last(ctx, schema.StreamLogs, op.subject)
	if err != nil || !ok {
		return err
	}
	segment, err := p.decoder.Segment(last.Data)
	if err != nil {
		return err
	}
	transcript, err := enrich.Resume(segment, p.o.Signer, time.Now())
	if err != nil {
		return err
	}
	op.transcript, op.last, op.published = transcript, last.Sequence, transcript.Received()
	op.transcript.Use(&p.buffers)
	return nil
}

// openLater tries again to open an operation with pending chunks. Its first chunk may be stored
// after its second, and on a cluster, a replica that lags may not know the last segment yet. The
// chunks are passed over once it is certain that there is neither.
func (p *enriching) openLater(ctx context.Context, subject string, op *operation, now time.Time) error {
	if err := p.resume(ctx, op); err != nil {
		return err
	}
	if op.transcript != nil {
		if err := p.release(op, now); err != nil {
			return err
		}
		return p.publish(ctx, op)
	}
	if op.onLogs {
		if now.Sub(op.held[0].since) <= aheadGrace {
			return nil
		}
		return p.lookOnLogs(ctx, op) // the stream may have removed it meanwhile
	}
	if missing, err := p.isMissing(ctx, op, now); err != nil || !missing {
		return err
	}
	return p.passOver(ctx, subject, op)
}

// lookOnLogs asks LOGS' leader for a segment of an operation that is not open.
func (p *enriching) lookOnLogs(ctx context.Context, op *operation) (err error) {
	op.onLogs, err = p.o.Bus.Exists(ctx, schema.StreamLogs, op.subject)
	p.account(op)
	return err
}

// passOver passes over the pending chunks of an operation whose start never comes, unless LOGS has
// a segment of it.
func (p *enriching) passOver(ctx context.Context, subject string, op *operation) error {
	if err := p.lookOnLogs(ctx, op); err != nil || op.onLogs {
		return err
	}
	for _, h := range op.held {
		if err := p.skip(h.Message, errMissingStart); err != nil {
			return err
		}
	}
	if len(p.missingStart) >= maxOperations {
		clear(p.missingStart) // their next chunks wait once more
	}
	p.missingStart[subject] = true
	p.forget(subject)
	return nil
}

// isMissing reports whether what the pending chunks of an operation wait for never comes: it had
// the time for it, and TTY has nothing of the partition that was not read.
func (p *enriching) isMissing(ctx context.Context, op *operation, now time.Time) (bool, error) {
	if len(op.held) == 0 || now.Sub(op.held[0].since) <= aheadGrace {
		return false, nil
	}
	_, unread, err := p.o.Bus.Next(ctx, schema.StreamTTY, schema.FilterTTY(p.partition), p.read)
	return !unread, err
}

// forget removes an operation of which nothing is to be published.
func (p *enriching) forget(subject string) {
	p.backlog -= p.operations[subject].size
	delete(p.operations, subject)
}

// hold keeps a chunk until its predecessor has come.
func (p *enriching) hold(op *operation, m bus.Message, now time.Time) {
	op.held = append(op.held, pendingChunk{m, now})
	op.heldBytes += len(m.Data)
	p.account(op)
}

// apply adds the chunk at hand to its transcript.
func (p *enriching) apply(op *operation, m bus.Message, now time.Time) error {
	if err := op.transcript.Add(&p.chunk, now); err != nil {
		return err
	}
	if end := op.transcript.Received(); !op.published.Reaches(end) {
		op.sources = append(op.sources, source{m.Sequence, m.Time, m.Trace, end})
	}
	p.account(op)
	return nil
}

// release adds the pending chunks whose predecessors have come.
func (p *enriching) release(op *operation, now time.Time) error {
	for i := 0; i < len(op.held); {
		h := op.held[i]
		if err := schema.DecodeChunk(h.Data, &p.chunk); err != nil {
			return err
		}
		err := p.apply(op, h.Message, now)
		if errors.Is(err, enrich.ErrAhead) {
			i++
			continue
		}
		if errors.Is(err, schema.ErrCorrupt) {
			err = p.skip(h.Message, err)
		}
		if err != nil {
			return err
		}
		op.heldBytes -= len(h.Data)
		op.held = slices.Delete(op.held, i, i+1) // which lets go of the data
		i = 0
	}
	p.account(op)
	return nil
}

// account keeps the backlog. The pending chunks of an operation that waits for a replica count:
// more of them are read only after those. Those of one that waits for its start do not: the start
// is among what is read next.
func (p *enriching) account(op *operation) {
	size := 0
	switch {
	case op.transcript != nil:
		size = op.transcript.Size()
	case op.onLogs:
		size = op.heldBytes
	}
	if op.flying != nil {
		size += len(op.flying.Data)
	}
	p.backlog += size - op.size
	op.size = size
}

// giveUp replaces the chunks before the earliest pending one by a gap.
func (p *enriching) giveUp(op *operation, now time.Time) error {
	var earliest schema.Chunk
	for i, h := range op.held {
		if err := schema.DecodeChunk(h.Data, &p.chunk); err != nil {
			return err
		}
		if i == 0 || p.chunk.Ordinal < earliest.Ordinal {
			earliest = p.chunk
			p.chunk = schema.Chunk{}
		}
	}
	if err := op.transcript.Lost(&earliest, "the stream did not take it", now); err != nil {
		return err
	}
	p.log.Error("part of a session is missing on the TTY stream", "operation", op.transcript.Operation().ID)
	p.o.Metrics.Gaps.Inc()
	return p.release(op, now)
}
