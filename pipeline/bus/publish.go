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

// ErrFenced is the error of a publish that expected another last message on its subject: somebody
// else has published there. On a cluster, nobody may have: of several that come at the same time,
// all may be refused.
var ErrFenced = errors.New("another publisher has written to this subject")

// ErrFull is the error of whatever there is no room for: its stream has reached its bound, or the
// disk is full. Nothing was stored, and nothing that was stored went for it.
var ErrFull = errors.New("there is no room to record it")

// A Publish is a message under way to its stream.
type Publish struct {
	future  jetstream.PubAckFuture
	err     error
	subject string
	refused *refused // what was refused from its beginning on
	bus     *Bus
}

// An Option says more of a message.
type Option func(*nats.Msg)

// Traced has the message carry a context of tracing, which its readers find in [Message].Trace; ""
// for none.
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

// PublishChunk sends a message to a stream without waiting for it. id lets the stream recognise a
// repeat. data is the bus's until Wait has returned.
func (b *Bus) PublishChunk(subject, id string, data []byte, options ...Option) *Publish {
	m := &nats.Msg{Subject: subject, Data: data}
	for _, o := range options {
		o(m)
	}
	return b.publish(forSessions, m, jetstream.WithMsgID(id))
}

// Headers of a segment's message, from which what a drain does not have yet can be counted without
// reading it.
const (
	headerRecords = "Ttydrain-Records" // how many records the segment has
	headerPHI     = "Ttydrain-Phi"     // "1" where they may be protected health information
	headerTrace   = "traceparent"      // of chunks too: see https://www.w3.org/TR/trace-context/
)

// PublishSegment sends a segment without waiting for it, which is stored only if the last message
// on its subject has the sequence last (0: there is none). records and phi are what it holds. data
// is the bus's until Wait has returned.
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

// PublishEnd sends the last chunk of an operation that ended without one, behind the message on its
// subject with the sequence last (0: there is none), without waiting for it. It may have more of a
// disk's last room than other chunks.
func (b *Bus) PublishEnd(subject string, last uint64, data []byte) *Publish {
	return b.publish(forBookkeeping, &nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectLastSequencePerSubject(last))
}

func (b *Bus) publish(what need, m *nats.Msg, opts ...jetstream.PublishOpt) *Publish {
	if err := b.disk.room(what, len(m.Data)); err != nil {
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

// Wait waits until the stream has stored the message, on the disk with an embedded server that is
// to, for some seconds at most, and gives its sequence in the stream. It is called once. After an
// error that is neither ErrFenced nor ErrFull nor a RefusedError the message may be stored all the
// same.
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
		case 10077, 10047, 10028, 10023, 10002: // the stream's, the store's, the memory's, the server's, the account's limit
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

// conflicts says that something else was written where a publish or an update expected a certain
// last message. A stream with replicas has a code of its own for one that is just being written.
func conflicts(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
	}
	return errors.Is(err, jetstream.ErrKeyExists)
}

// PublishDeadLetter keeps a dead letter. Of a record that has one already, the first stays: a
// worker that dies before its position is kept works the record again.
func (b *Bus) PublishDeadLetter(ctx context.Context, letter *schema.DeadLetter) error {
	data, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	m := &nats.Msg{Subject: schema.SubjectDeadLetter(letter), Data: data}
	_, err = b.publish(forDelivery, m, jetstream.WithExpectLastSequencePerSubject(0)).Wait(ctx)
	if errors.Is(err, ErrFenced) {
		// On a cluster another one may be under way, and then not come.
		if _, there, lookErr := b.Last(ctx, schema.StreamDeadLetter, m.Subject); there || lookErr != nil {
			return lookErr
		}
	}
	if err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return nil
}
