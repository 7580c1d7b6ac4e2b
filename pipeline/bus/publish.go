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
// else has published there.
var ErrFenced = errors.New("another publisher has written to this subject")

// ErrFull is the error of a publish that the stream has no room for.
var ErrFull = errors.New("the stream is full")

// A Publish is a message under way to its stream.
type Publish struct {
	future jetstream.PubAckFuture
	err    error
}

// PublishChunk sends a message to a stream without waiting for it. id lets the stream recognise a repeat. data is the bus's until Wait
// has returned.
func (b *Bus) PublishChunk(subject, id string, data []byte) *Publish {
	return b.publish(subject, data, jetstream.WithMsgID(id))
}

// PublishSegment sends a message without waiting for it, which is stored only if the last message on its
// subject has the sequence last (0: there is none). data is the bus's until Wait has returned.
func (b *Bus) PublishSegment(subject string, last uint64, data []byte) *Publish {
	return b.publish(subject, data, jetstream.WithExpectLastSequencePerSubject(last))
}

func (b *Bus) publish(subject string, data []byte, opts ...jetstream.PublishOpt) *Publish {
	future, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, opts...)
	return &Publish{future, err}
}

// Wait waits until the stream has stored the message, and gives its sequence in the stream.
// After an error that is neither ErrFenced nor ErrFull the message may be stored all the same.
func (p *Publish) Wait(ctx context.Context) (sequence uint64, err error) {
	if p.err == nil {
		select {
		case ack := <-p.future.Ok():
			return ack.Sequence, nil
		case p.err = <-p.future.Err():
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 0, fmt.Errorf("publish: %w", classify(p.err))
}

func classify(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence:
			return ErrFenced
		case 10077, 10047, 10023: // the stream's, the store's, the server's limit
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

// PublishDeadLetter keeps a dead letter.
func (b *Bus) PublishDeadLetter(ctx context.Context, letter *schema.DeadLetter) error {
	data, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	// A worker that dies before its position is kept works the record again: the ID keeps the letter single.
	id := letter.Drain + "/" + letter.Operation + "/" + strconv.FormatUint(letter.Sequence, 10)
	if _, err := b.publish(schema.SubjectDeadLetter(letter.Drain), data, jetstream.WithMsgID(id)).Wait(ctx); err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return nil
}
