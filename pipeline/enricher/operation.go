package enricher

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

// An operation is the enrichment of one operation.
type operation struct {
	// transcript is nil until the operation is open: until its start was read, or its last segment on
	// LOGS was found.
	transcript   *enrich.Transcript
	subject      string          // on LOGS
	last         uint64          // sequence on LOGS of its last segment
	inFlight     *enrich.Segment // nil for none
	span         *tracing.Span   // of inFlight
	published    enrich.Progress // up to where it is on LOGS
	sources      []source        // in the order of the session, which is not always that of TTY
	pending      []pendingChunk  // out-of-order chunks
	pendingBytes int             // of their data
	onLogs       bool            // LOGS has a segment of it, although it is not open: a replica lags
	size         int             // its part of the backlog
	touched      time.Time
}

// A source is a chunk that is not completely published.
type source struct {
	sequence uint64    // on TTY
	stored   time.Time // on TTY
	trace    string    // as in bus.Message
	end      enrich.Progress
}

// A pendingChunk is a chunk that came before its predecessor.
type pendingChunk struct {
	bus.Message
	since time.Time
}

// errMissingStart is the reason for which the chunks of an operation are skipped whose start is
// neither on TTY nor in a segment on LOGS.
var errMissingStart = fmt.Errorf("the operation's start is missing: %w", schema.ErrCorrupt)

// open opens the operation of the current chunk if it can: from its last segment on LOGS, or from
// the chunk if that has the start. If the operation has pending chunks, LOGS is asked only when the
// chunk has the start; a tick asks again.
func (p *partition) open(ctx context.Context, op *operation) error {
	if len(op.pending) > 0 && p.chunk.Ordinal > 0 {
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
		p.o.Metrics.refused.Inc()
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
func (p *partition) resume(ctx context.Context, op *operation) error {
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

// retryOpen tries again to open an operation with pending chunks. Its first chunk may be stored
// after its second, and on a cluster, a lagging replica may not know the last segment yet. The
// chunks are skipped once it is certain that there is neither.
func (p *partition) retryOpen(ctx context.Context, subject string, op *operation, now time.Time) error {
	if err := p.resume(ctx, op); err != nil {
		return err
	}
	if op.transcript != nil {
		if err := p.applyPending(op, now); err != nil {
			return err
		}
		return p.publish(ctx, op)
	}
	if op.onLogs {
		if now.Sub(op.pending[0].since) <= missingAfter {
			return nil
		}
		return p.lookOnLogs(ctx, op) // the stream may have removed it meanwhile
	}
	if missing, err := p.isMissing(ctx, op, now); err != nil || !missing {
		return err
	}
	return p.skipPending(ctx, subject, op)
}

// lookOnLogs asks LOGS' leader for a segment of an operation that is not open.
func (p *partition) lookOnLogs(ctx context.Context, op *operation) (err error) {
	op.onLogs, err = p.o.Bus.Exists(ctx, schema.StreamLogs, op.subject)
	p.account(op)
	return err
}

// skipPending skips the pending chunks of an operation whose start never comes, unless LOGS has a
// segment of it.
func (p *partition) skipPending(ctx context.Context, subject string, op *operation) error {
	if err := p.lookOnLogs(ctx, op); err != nil || op.onLogs {
		return err
	}
	for _, c := range op.pending {
		if err := p.skip(c.Message, errMissingStart); err != nil {
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

// isMissing reports whether the predecessor of an operation's pending chunks never comes: they have
// waited long enough, and all of the partition's chunks on TTY were read.
func (p *partition) isMissing(ctx context.Context, op *operation, now time.Time) (bool, error) {
	if len(op.pending) == 0 || now.Sub(op.pending[0].since) <= missingAfter {
		return false, nil
	}
	_, unread, err := p.o.Bus.Next(ctx, schema.StreamTTY, schema.FilterTTY(p.number), p.read)
	return !unread, err
}

// forget removes an operation with nothing to publish.
func (p *partition) forget(subject string) {
	p.backlog -= p.operations[subject].size
	delete(p.operations, subject)
}

// postpone keeps a chunk until its predecessor has come.
func (p *partition) postpone(op *operation, m bus.Message, now time.Time) {
	op.pending = append(op.pending, pendingChunk{m, now})
	op.pendingBytes += len(m.Data)
	p.account(op)
}

// apply adds the current chunk to its transcript.
func (p *partition) apply(op *operation, m bus.Message, now time.Time) error {
	if err := op.transcript.Add(&p.chunk, now); err != nil {
		return err
	}
	if end := op.transcript.Received(); !op.published.Reaches(end) {
		op.sources = append(op.sources, source{m.Sequence, m.Time, m.Trace, end})
	}
	p.account(op)
	return nil
}

// applyPending adds the pending chunks whose predecessors have come.
func (p *partition) applyPending(op *operation, now time.Time) error {
	for i := 0; i < len(op.pending); {
		c := op.pending[i]
		if err := schema.DecodeChunk(c.Data, &p.chunk); err != nil {
			return err
		}
		err := p.apply(op, c.Message, now)
		if errors.Is(err, enrich.ErrAhead) {
			i++
			continue
		}
		if errors.Is(err, schema.ErrCorrupt) {
			err = p.skip(c.Message, err)
		}
		if err != nil {
			return err
		}
		op.pendingBytes -= len(c.Data)
		op.pending = slices.Delete(op.pending, i, i+1) // which releases the data
		i = 0
	}
	p.account(op)
	return nil
}

// account updates the backlog. It includes the pending chunks of an operation that waits for a
// replica: more chunks are read only after those. It does not include the chunks of an operation
// that waits for its start, which is among the chunks that are read next.
func (p *partition) account(op *operation) {
	size := 0
	switch {
	case op.transcript != nil:
		size = op.transcript.Size()
	case op.onLogs:
		size = op.pendingBytes
	}
	if op.inFlight != nil {
		size += len(op.inFlight.Data)
	}
	p.backlog += size - op.size
	op.size = size
}

// giveUp replaces the chunks before the earliest pending one by a gap.
func (p *partition) giveUp(op *operation, now time.Time) error {
	var earliest schema.Chunk
	for i, c := range op.pending {
		if err := schema.DecodeChunk(c.Data, &p.chunk); err != nil {
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
	p.o.Metrics.gaps.Inc()
	return p.applyPending(op, now)
}
