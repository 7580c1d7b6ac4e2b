package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

// ErrFenced is returned by a publish that expected another last message on its subject, because
// another publisher has written there. On a cluster it can also be spurious: several concurrent
// publishes may all be refused.
var ErrFenced = errors.New("another publisher has written to this subject")

// ErrFull is returned if there is no space: a stream has reached its limit, or the disk is full.
// Nothing was stored, and no stored data was removed.
var ErrFull = errors.New("there is no space to record it")

// Publish is a message in flight to its stream.
type Publish struct {
	future  jetstream.PubAckFuture
	err     error
	subject string
	refused *refused // start of the refusals that may concern it
	bus     *Bus
}

// Option sets a property of a message.
type Option func(*nats.Msg)

// Traced adds a trace context to the message, which its readers find in [Message].Trace; "" adds
// none.
func Traced(traceparent string) Option {
	return func(m *nats.Msg) {
		if traceparent == "" {
			return
		}
		if m.Header == nil {
			m.Header = make(nats.Header)
		}
		m.Header[headerTrace] = []string{traceparent}
	}
}

// PublishChunk sends a message to a stream without waiting for it. The stream recognizes a retry by
// its id. The bus owns data until Wait has returned.
func (b *Bus) PublishChunk(subject, id string, data []byte, options ...Option) *Publish {
	m := &nats.Msg{Subject: subject, Data: data}
	for _, o := range options {
		o(m)
	}
	return b.publish(forSessions, m, jetstream.WithMsgID(id))
}

// Headers of a segment's message, which allow computing a drain's lag without reading the segments.
const (
	headerRecords = "Ttydrain-Records" // number of records in the segment
	headerPHI     = "Ttydrain-Phi"     // "1" if they may be protected health information
	headerTrace   = "traceparent"      // of chunks, too: see https://www.w3.org/TR/trace-context/
)

// PublishSegment sends a segment without waiting for it. It is stored only if the last message on
// its subject has the sequence last (0: there is none). records and phi describe the segment. The
// bus owns data until Wait has returned.
func (b *Bus) PublishSegment(subject string, last uint64, records int, phi bool, data []byte, options ...Option) *Publish {
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{headerRecords: {strconv.Itoa(records)}}}
	if phi {
		m.Header[headerPHI] = []string{"1"}
	}
	for _, o := range options {
		o(m)
	}
	return b.publish(forDelivery, m, jetstream.WithExpectLastSequencePerSubject(last))
}

// PublishEnd sends the final chunk of an operation that ended without one, without waiting for it.
// It is stored only after the message with the sequence last on its subject (0: there is none). It
// may use more of the disk's reserve than other chunks.
func (b *Bus) PublishEnd(subject string, last uint64, data []byte) *Publish {
	return b.publish(forBookkeeping, &nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectLastSequencePerSubject(last))
}

func (b *Bus) publish(what need, m *nats.Msg, opts ...jetstream.PublishOpt) *Publish {
	if err := b.disk.admit(what, len(m.Data)); err != nil {
		return &Publish{err: err}
	}
	if what == forSessions {
		if err := b.roomForOutput(len(m.Data)); err != nil {
			return &Publish{err: err}
		}
	}
	refused := b.refusals.end.Load()
	future, err := b.js.PublishMsgAsync(m, opts...)
	return &Publish{future, err, m.Subject, refused, b}
}

// Wait waits, at most some seconds, until the stream has stored the message, and an embedded server
// has synced it if so configured, and returns its sequence in the stream. It is called once. After
// an error other than ErrFenced, ErrFull or a RefusedError, the message may still have been stored.
func (p *Publish) Wait(ctx context.Context) (sequence uint64, err error) {
	for p.err == nil {
		select {
		case ack := <-p.future.Ok():
			if err := p.bus.embedded.syncedOf(ack.Stream).wait(ctx, ack.Sequence); err != nil {
				return 0, fmt.Errorf("publish: %w", err)
			}
			return ack.Sequence, nil
		case p.err = <-p.future.Err():
		case <-p.refused.happened:
			if what := p.refused.what; what.concerns(p.subject) {
				p.err = what
			}
			p.refused = p.refused.next
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 0, fmt.Errorf("publish: %w", classify(p.err))
}

func classify(err error) error {
	if conflicts(err) {
		return ErrFenced
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case 10077, 10047, 10028, 10023, 10002: // limit of the stream, the store, the memory, the server, the account
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

// conflicts reports whether a publish or an update failed because the last message was not the
// expected one. A stream with replicas has a separate code for one that is just being written.
func conflicts(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
	}
	return errors.Is(err, jetstream.ErrKeyExists)
}

// PublishAudit stores an event of the audit trail, and returns its sequence. It may use more of the
// disk's reserve than chunks: operators act when a disk is nearly full.
func (b *Bus) PublishAudit(ctx context.Context, subject string, data []byte) (sequence uint64, err error) {
	return b.publish(forBookkeeping, &nats.Msg{Subject: subject, Data: data}).Wait(ctx)
}

// PublishDeadLetter stores a dead letter. If the record has one already, the first one stays: a
// worker that dies before its position is saved processes the record again.
func (b *Bus) PublishDeadLetter(ctx context.Context, letter *schema.DeadLetter) error {
	data, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	m := &nats.Msg{Subject: schema.SubjectDeadLetter(letter), Data: data}
	_, err = b.publish(forDelivery, m, jetstream.WithExpectLastSequencePerSubject(0)).Wait(ctx)
	if errors.Is(err, ErrFenced) {
		// On a cluster, another publish may be in flight, and then fail.
		if _, there, lookErr := b.Last(ctx, schema.StreamDeadLetter, m.Subject); there || lookErr != nil {
			return lookErr
		}
	}
	if err != nil {
		return fmt.Errorf("store a dead letter: %w", err)
	}
	return nil
}
