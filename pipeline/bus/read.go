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

// Message is one message of a stream.
type Message struct {
	Subject  string
	Sequence uint64 // in the stream
	Time     time.Time
	// Pending is the number of matching messages after this one when it was sent.
	Pending uint64
	// Records is the number of records of a segment, and PHI reports that they may be protected
	// health information. They are only set on LOGS, for messages read by a [Reader].
	Records uint64
	PHI     bool
	// Trace is the trace context of the message, "" for none; only set for messages read by a
	// [Reader].
	Trace string
	// Data belongs to the receiver.
	Data []byte
}

// Reader reads a stream in order.
type Reader struct {
	bus      *Bus
	stream   string
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
	next     chan Message // closed when err is set
	err      error
	cancel   context.CancelFunc           // ends following refusals
	refused  atomic.Pointer[RefusedError] // why reading has ended, or nil
	closing  sync.Once
	closed   chan struct{} // closed by Close
	gone     chan struct{} // closed when the consumer is deleted, as far as the server answers
}

// closeWait is the time for which Close waits for a server that does not answer.
const closeWait = time.Second

const (
	// readAhead is the number of messages that a reader requests in advance.
	readAhead = 128
	// readAheadBytes limits the bytes sent for one such request. It exceeds the size of any
	// message, which would otherwise block the reader; and it is small enough for about fifty
	// readers in a process before their requests exceed the 64 MiB that NATS buffers for a slow
	// connection before closing it.
	readAheadBytes = maxPayload + 64<<10
)

// inactive is the time after which the server removes the consumer of a reader that requests
// nothing. Such consumers remain after processes were killed, and after readers that restarted just
// when they were closed. A reader whose consumer was removed, because delivering took long, creates
// another one.
const inactive = 2 * time.Minute

// Read reads the messages of a stream that match one of the filters and follow a sequence, in the
// order of the stream, and waits for new ones at its end.
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
	// Not cancelled by ctx: a consumer whose name is not known could not be deleted.
	ctx = context.WithoutCancel(ctx)
	refused := b.refusals.end.Load()
	config.NamePrefix, config.InactiveThreshold = nuid.Next(), inactive
	consumer, err := b.orderedConsumer(ctx, stream, config)
	if err != nil {
		return nil, fmt.Errorf("read the stream %s: %w", stream, err)
	}
	// Not only a limit of bytes: the client would then allocate a buffer for a million messages,
	// which takes 8 MiB for each reader.
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

// read runs in its own goroutine: while the server is gone, the iterator only returns when it has
// reconnected.
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

// receive waits for the next message from the server.
func (r *Reader) receive() (Message, error) {
	m, err := r.messages.Next()
	if err != nil {
		return Message{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return Message{}, err
	}
	// A segment without the header was written by an older version.
	records, err := strconv.ParseUint(m.Headers().Get(headerRecords), 10, 64)
	if err != nil {
		records = 1
	}
	return Message{m.Subject(), meta.Sequence.Stream, meta.Timestamp, meta.NumPending, records, m.Headers().Get(headerPHI) != "", m.Headers().Get(headerTrace), m.Data()}, nil
}

// Next waits for the next message. It returns the cause of ctx when that is done.
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

// NextWithin returns the next message, which should exist; ok is false if it does not arrive within
// the duration d.
func (r *Reader) NextWithin(ctx context.Context, d time.Duration) (m Message, ok bool, err error) {
	soon, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	m, err = r.Next(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return Message{}, false, nil
	}
	return m, err == nil, err
}

// Pending returns the number of messages to read when the consumer was created.
func (r *Reader) Pending() uint64 {
	if info := r.consumer.CachedInfo(); info != nil {
		return info.NumPending
	}
	return 0
}

// Close ends reading. It may be called repeatedly. It waits a second for a server that does not
// answer, and leaves the rest to a goroutine.
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

// deleteConsumer deletes a consumer that is no longer needed, because consumers count against the
// limits of the servers. If this fails, the server deletes it after some minutes without a request.
func (b *Bus) deleteConsumer(stream string, c jetstream.Consumer) {
	info := c.CachedInfo()
	if info == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	_ = b.js.DeleteConsumer(ctx, stream, info.Name)
}

// Last returns the last message on a subject; ok is false if there is none.
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

// Exists reports whether a stream has a message on a subject. Unlike [Bus.Last], it asks the
// stream's leader, which knows all acknowledged messages.
func (b *Bus) Exists(ctx context.Context, stream, subject string) (bool, error) {
	info, err := b.streams[stream].Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, fmt.Errorf("find a subject of the stream %s: %w", stream, err)
	}
	return info.State.Subjects[subject] > 0, nil
}

// lateness is the maximum delay with which a retried message can be stored after later ones: a
// capture gives up earlier.
const lateness = time.Minute

// Tail calls each with the messages on a subject, in the order of the stream, starting a minute
// before the last one. The data belongs to each.
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

// Count returns the number of messages after a sequence that match one of the filters, without
// reading them.
func (b *Bus) Count(ctx context.Context, stream string, filters []string, after uint64) (uint64, error) {
	// Not an ordered consumer, which would request messages; and not cancelled by ctx, as in Read.
	ctx = context.WithoutCancel(ctx)
	config := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: requestTimeout,
	}
	if config.FilterSubjects = filters; len(filters) == 1 { // the server checks the permission to read one
		config.FilterSubject, config.FilterSubjects = filters[0], nil
	}
	consumer, err := guarded(ctx, b.refusals, stream, func(ctx context.Context) (jetstream.Consumer, error) { return b.js.CreateConsumer(ctx, stream, config) })
	if err != nil {
		return 0, fmt.Errorf("count the messages of the stream %s: %w", stream, err)
	}
	b.deleteConsumer(stream, consumer)
	return consumer.CachedInfo().NumPending, nil
}

// First returns the first message after a sequence that matches one of the filters; ok is false if
// there is none. On a cluster, the newest messages may not be found yet.
func (b *Bus) First(ctx context.Context, stream string, filters []string, after uint64) (first Message, ok bool, err error) {
	for _, filter := range filters {
		raw, err := b.streams[stream].GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return Message{}, false, fmt.Errorf("find the next message of the stream %s: %w", stream, err)
		}
		if !ok || raw.Sequence < first.Sequence {
			first, ok = Message{Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time, Data: raw.Data}, true
		}
	}
	return first, ok, nil
}

// Begin returns the sequence of the first message of a stream; if it is empty, that of the next
// one.
func (b *Bus) Begin(ctx context.Context, stream string) (uint64, error) {
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the beginning of the stream %s: %w", stream, err)
	}
	return max(info.State.FirstSeq, 1), nil
}

// End returns the sequence of a stream's last message, 0 if it never had one.
func (b *Bus) End(ctx context.Context, stream string) (uint64, error) {
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of the stream %s: %w", stream, err)
	}
	return info.State.LastSeq, nil
}

// Next returns the sequence of the first message after another one that matches a filter; ok is
// false if there is none yet.
func (b *Bus) Next(ctx context.Context, stream, filter string, after uint64) (sequence uint64, ok bool, err error) {
	raw, err := b.streams[stream].GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find the next message of the stream %s: %w", stream, err)
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
