package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// A Message is one message of a stream.
type Message struct {
	Subject  string
	Sequence uint64 // in the stream
	Time     time.Time
	// Pending is how many messages that the reader wants were behind this one when it was sent.
	Pending uint64
	// Records is how many records a segment has, and PHI says that they may be protected health
	// information. On LOGS alone, and only where the message was read by a [Reader].
	Records uint64
	PHI     bool
	// Trace is the context of tracing that the message carries, "" for none; where it was read by a
	// [Reader].
	Trace string
	// Data is the reader's: nobody else uses it.
	Data []byte
}

// A Reader reads a stream in order.
type Reader struct {
	bus      *Bus
	stream   string
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
	next     chan Message // closed when err is known
	err      error
	cancel   context.CancelFunc           // ends looking for refusals
	refused  atomic.Pointer[RefusedError] // why nothing comes any more, or nil
	closing  sync.Once
	closed   chan struct{} // by Close
	gone     chan struct{} // closed when nothing is left of it, here and on the server as far as that answers
}

// closeWait is how long Close waits for a server that does not answer.
const closeWait = time.Second

const (
	// readAhead is how many messages a reader asks for before they are wanted.
	readAhead = 128
	// readAheadBytes bounds what is sent for one such request, in bytes. It is more than any message
	// has, or a reader would stand still before it; and so little that a process may have some fifty
	// readers before all that they ask for is more than the 64 MiB which NATS keeps for a connection
	// that does not keep up, before it ends it.
	readAheadBytes = maxPayload + 64<<10
)

// inactive is after how long the server removes the consumer of a reader that asks for nothing.
// Such are left behind by processes that were killed, and by readers that began anew just when they
// were closed. A reader whose consumer was removed since what it had read took long to deliver
// makes another.
const inactive = 2 * time.Minute

// Read reads the messages of a stream that match one of the filters and come after a sequence,
// in the order of the stream, and waits for new ones at its end.
func (b *Bus) Read(ctx context.Context, stream string, filters []string, after uint64) (*Reader, error) {
	return b.read(ctx, stream, fromSequence(filters, after))
}

// ReadHeads is Read without the messages' data.
func (b *Bus) ReadHeads(ctx context.Context, stream string, filters []string, after uint64) (*Reader, error) {
	config := fromSequence(filters, after)
	config.HeadersOnly = true
	return b.read(ctx, stream, config)
}

func fromSequence(filters []string, after uint64) jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    after + 1,
	}
}

func (b *Bus) read(ctx context.Context, stream string, config jetstream.OrderedConsumerConfig) (*Reader, error) {
	// Even where ctx ends: a consumer whose name nobody waited for would be left on the server.
	ctx = context.WithoutCancel(ctx)
	refused := b.refusals.end.Load()
	config.NamePrefix, config.InactiveThreshold = nuid.Next(), inactive
	consumer, err := b.orderedConsumer(ctx, stream, config)
	if err != nil {
		return nil, fmt.Errorf("read the stream %s: %w", stream, err)
	}
	// Not a limit of bytes alone: with one, the client makes room for a million messages, which are 8
	// MiB for each reader.
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes))
	if err != nil {
		b.deleteConsumer(stream, consumer)
		return nil, fmt.Errorf("read the stream %s: %w", stream, err)
	}
	r := &Reader{bus: b, stream: stream, consumer: consumer, messages: messages, next: make(chan Message), closed: make(chan struct{}), gone: make(chan struct{})}
	ctx, r.cancel = context.WithCancel(ctx)
	synced := b.embedded.syncedOf(stream)
	go refused.follow(ctx, config.NamePrefix, func(e *RefusedError) { // ends with Close
		r.refused.Store(e)
		messages.Stop()
	})
	go r.read(ctx, synced) // ends with Close
	return r, nil
}

// read is a goroutine of its own: where the server is gone, the iterator looks after nothing but
// its way back.
func (r *Reader) read(ctx context.Context, synced *synced) {
	defer close(r.next)
	for {
		m, err := r.receive()
		if err == nil {
			err = synced.wait(ctx, m.Sequence)
		}
		if err != nil {
			if refused := r.refused.Load(); refused != nil {
				err = refused
			}
			r.err = err
			return
		}
		select {
		case r.next <- m:
		case <-r.closed:
			return
		}
	}
}

func (b *Bus) orderedConsumer(ctx context.Context, stream string, config jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	return guarded(ctx, b.refusals, stream, func(ctx context.Context) (jetstream.Consumer, error) {
		return b.js.OrderedConsumer(ctx, stream, config)
	})
}

// receive waits for what the server sends.
func (r *Reader) receive() (Message, error) {
	m, err := r.messages.Next()
	if err != nil {
		return Message{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return Message{}, err
	}
	// A segment without the header is one of a version that wrote none.
	records, err := strconv.ParseUint(m.Headers().Get(headerRecords), 10, 64)
	if err != nil {
		records = 1
	}
	return Message{m.Subject(), meta.Sequence.Stream, meta.Timestamp, meta.NumPending, records, m.Headers().Get(headerPHI) != "", m.Headers().Get(headerTrace), m.Data()}, nil
}

// Next waits for the next message. It ends with the context's cause.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	if ctx.Err() != nil {
		return Message{}, context.Cause(ctx)
	}
	select {
	case m, ok := <-r.next:
		if !ok {
			return Message{}, fmt.Errorf("read from the stream: %w", r.err)
		}
		return m, nil
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	}
}

// NextWithin returns the next message, of which there should be one; ok is false if it does not
// come within a time.
func (r *Reader) NextWithin(ctx context.Context, d time.Duration) (m Message, ok bool, err error) {
	soon, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	m, err = r.Next(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return Message{}, false, nil
	}
	return m, err == nil, err
}

// Pending is how many messages there were to read when reading began, or began anew.
func (r *Reader) Pending() uint64 {
	if info := r.consumer.CachedInfo(); info != nil {
		return info.NumPending
	}
	return 0
}

// Close ends reading. It may be called again. Of a server that does not answer it waits a second
// for a word, and leaves the rest to a goroutine.
func (r *Reader) Close() {
	r.closing.Do(r.close)
}

func (r *Reader) close() {
	close(r.closed)
	r.cancel()
	go func() { // ends when the server has answered, or within half a minute
		defer close(r.gone)
		r.messages.Stop()
		r.bus.deleteConsumer(r.stream, r.consumer)
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-r.gone:
	case <-timer.C:
	}
}

// deleteConsumer deletes a consumer that is not needed any more: they count against the limits of
// the servers. If this fails, the server deletes it after some minutes without a request.
func (b *Bus) deleteConsumer(stream string, c jetstream.Consumer) {
	info := c.CachedInfo()
	if info == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	_ = b.js.DeleteConsumer(ctx, stream, info.Name)
}

// Last gives the last message on a subject; ok is false where there is none.
func (b *Bus) Last(ctx context.Context, stream, subject string) (m Message, ok bool, err error) {
	raw, err := b.streams[stream].GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, false, nil
	}
	if err != nil {
		return Message{}, false, fmt.Errorf("read the last message of a subject: %w", err)
	}
	return Message{Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time, Data: raw.Data}, true, nil
}

// Exists reports whether a stream has a message on a subject. Unlike [Bus.Last] it asks the
// stream's leader, which knows of all that was acknowledged.
func (b *Bus) Exists(ctx context.Context, stream, subject string) (bool, error) {
	info, err := b.streams[stream].Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, fmt.Errorf("look for a subject of the stream %s: %w", stream, err)
	}
	return info.State.Subjects[subject] > 0, nil
}

// lateness is how much later than those behind it a message may have come that its publisher
// repeated: a capture gives up sooner.
const lateness = time.Minute

// Tail calls each with the messages on a subject, in the order of the stream, from a minute before
// the last one to the last one. The data are each's.
func (b *Bus) Tail(ctx context.Context, stream, subject string, each func(Message) error) error {
	last, ok, err := b.Last(ctx, stream, subject)
	if err != nil || !ok {
		return err
	}
	from := last.Time.Add(-lateness)
	reader, err := b.read(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from,
	})
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := each(m); err != nil || m.Sequence >= last.Sequence {
			return err
		}
	}
}

// Count counts the messages after another that one of the filters matches, without reading them.
func (b *Bus) Count(ctx context.Context, stream string, filters []string, after uint64) (uint64, error) {
	// Not an ordered consumer, which would ask for messages; even where ctx ends, as in Read.
	ctx = context.WithoutCancel(ctx)
	config := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: requestTimeout,
	}
	if config.FilterSubjects = filters; len(filters) == 1 { // the server checks the right to read one
		config.FilterSubject, config.FilterSubjects = filters[0], nil
	}
	consumer, err := guarded(ctx, b.refusals, stream, func(ctx context.Context) (jetstream.Consumer, error) { return b.js.CreateConsumer(ctx, stream, config) })
	if err != nil {
		return 0, fmt.Errorf("count the messages of the stream %s: %w", stream, err)
	}
	b.deleteConsumer(stream, consumer)
	return consumer.CachedInfo().NumPending, nil
}

// First gives the first message after another that one of the filters matches; ok is false where
// there is none. On a cluster, the newest messages may not be found yet.
func (b *Bus) First(ctx context.Context, stream string, filters []string, after uint64) (first Message, ok bool, err error) {
	for _, filter := range filters {
		raw, err := b.streams[stream].GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return Message{}, false, fmt.Errorf("look for the next message of the stream %s: %w", stream, err)
		}
		if !ok || raw.Sequence < first.Sequence {
			first, ok = Message{Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time, Data: raw.Data}, true
		}
	}
	return first, ok, nil
}

// Begin gives the sequence of the first message that a stream still has; where it has none, that of
// the next one.
func (b *Bus) Begin(ctx context.Context, stream string) (uint64, error) {
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the beginning of the stream %s: %w", stream, err)
	}
	return max(info.State.FirstSeq, 1), nil
}

// End gives the sequence of a stream's last message, 0 where it never had one.
func (b *Bus) End(ctx context.Context, stream string) (uint64, error) {
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the end of the stream %s: %w", stream, err)
	}
	return info.State.LastSeq, nil
}

// Next gives the sequence of the first message after another that a filter matches; ok is false
// where there is none yet.
func (b *Bus) Next(ctx context.Context, stream, filter string, after uint64) (sequence uint64, ok bool, err error) {
	raw, err := b.streams[stream].GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look for the next message of the stream %s: %w", stream, err)
	}
	return raw.Sequence, true, nil
}

// waitInterval is the time between two looks at a stream in [Bus.WaitFor].
const waitInterval = 5 * time.Millisecond

// WaitFor blocks until a reader has passed every message up to end that one of its filters matches.
// position returns the sequence of the reader's last message.
func (b *Bus) WaitFor(ctx context.Context, stream string, filters []string, end uint64, position func() uint64) error {
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	for {
		passed := true
		for _, filter := range filters {
			next, ok, err := b.Next(ctx, stream, filter, position())
			if err != nil {
				return err
			}
			passed = passed && !(ok && next <= end)
		}
		if passed {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
