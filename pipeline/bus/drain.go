package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/ttydrain/ttydrain/schema"
)

// stateTTL is the time for which a drain's state is kept without an update.
const stateTTL = 30 * time.Second

// SaveDrainState records the state of a drain's worker. It has to be repeated within half a minute.
func (b *Bus) SaveDrainState(ctx context.Context, s *schema.DrainState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode a drain's state: %w", err)
	}
	if _, err := b.states.Put(ctx, schema.Token(s.Drain)+"."+strconv.Itoa(s.Partition), data); err != nil {
		return fmt.Errorf("record a drain's state: %w", err)
	}
	return nil
}

// DrainStates returns the states of all drains' workers, in no particular order.
func (b *Bus) DrainStates(ctx context.Context) ([]schema.DrainState, error) {
	return all[schema.DrainState](ctx, b.states, ">", "the drains' states")
}

// DrainControl returns the desired state of a drain.
func (b *Bus) DrainControl(ctx context.Context, drain string) (c schema.DrainControl, err error) {
	entry, err := b.controls.Get(ctx, schema.Token(drain))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the desired state of drain %s: %w", drain, err)
	}
	if err := json.Unmarshal(entry.Value(), &c); err != nil {
		return c, fmt.Errorf("read the desired state of drain %s: %w", drain, schema.ErrCorrupt)
	}
	return c, nil
}

// ChangeDrainControl changes the desired state of a drain. No concurrent change is lost: change may
// be called several times, each time with the current state.
func (b *Bus) ChangeDrainControl(ctx context.Context, drain string, change func(*schema.DrainControl)) error {
	key := schema.Token(drain)
	for {
		var c schema.DrainControl
		entry, err := b.controls.Get(ctx, key)
		switch {
		case err == nil:
			if err := json.Unmarshal(entry.Value(), &c); err != nil {
				return fmt.Errorf("read the desired state of drain %s: %w", drain, schema.ErrCorrupt)
			}
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return fmt.Errorf("read the desired state of drain %s: %w", drain, err)
		}
		change(&c)
		data, merr := json.Marshal(c)
		if merr != nil {
			return fmt.Errorf("encode the desired state of a drain: %w", merr)
		}
		if err := b.disk.admit(forBookkeeping, len(data)); err != nil {
			return fmt.Errorf("record the desired state of drain %s: %w", drain, err)
		}
		if entry == nil {
			_, err = b.controls.Create(ctx, key, data)
		} else {
			_, err = b.controls.Update(ctx, key, data, entry.Revision())
		}
		if err == nil {
			return nil
		}
		if !conflicts(err) {
			return fmt.Errorf("record the desired state of drain %s: %w", drain, err)
		}
	}
}

// WatchDrainControl calls changed with the desired state of a drain, immediately if it exists and
// after every change, until ctx is done.
func (b *Bus) WatchDrainControl(ctx context.Context, drain string, changed func(schema.DrainControl)) error {
	return follow(ctx, b.controls, schema.Token(drain), "watch the desired state of drain "+drain, func(entry jetstream.KeyValueEntry) error {
		if entry == nil { // end of the existing values
			return nil
		}
		var c schema.DrainControl
		if entry.Operation() == jetstream.KeyValuePut {
			if err := json.Unmarshal(entry.Value(), &c); err != nil {
				return schema.ErrCorrupt
			}
		}
		changed(c)
		return nil
	})
}

// NextRewind returns a new rewind to a position on LOGS.
func NextRewind(after uint64) *schema.Rewind { return &schema.Rewind{ID: nuid.Next(), After: after} }

// BeforeTime returns the sequence on LOGS before the first message at or after a time, or that of
// the last message if there is none.
func (b *Bus) BeforeTime(ctx context.Context, at time.Time) (uint64, error) {
	// Not an ordered consumer: its Fetch creates a second consumer, and retries forever when the
	// limit of consumers is reached. Not cancelled by ctx, as in Read.
	ctx = context.WithoutCancel(ctx)
	consumer, err := guarded(ctx, b.refusals, schema.StreamLogs, func(ctx context.Context) (jetstream.Consumer, error) {
		return b.js.CreateConsumer(ctx, schema.StreamLogs, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
			AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: requestTimeout,
		})
	})
	if err != nil {
		return 0, fmt.Errorf("find %s on LOGS: %w", at, err)
	}
	defer b.deleteConsumer(schema.StreamLogs, consumer)
	if consumer.CachedInfo().NumPending == 0 {
		return b.End(ctx, schema.StreamLogs)
	}
	// Not FetchNoWait: it waits for one second, and then returns no message and no error.
	batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(requestTimeout))
	if err != nil {
		return 0, fmt.Errorf("find %s on LOGS: %w", at, err)
	}
	m, ok := <-batch.Messages()
	if !ok {
		return 0, fmt.Errorf("find %s on LOGS: %w", at, cmp.Or(batch.Error(), nats.ErrTimeout))
	}
	meta, err := m.Metadata()
	if err != nil {
		return 0, fmt.Errorf("find %s on LOGS: %w", at, err)
	}
	return meta.Sequence.Stream - 1, nil
}

// ErrNotFound is returned for an operation or a dead letter that does not exist, or no longer
// exists.
var ErrNotFound = errors.New("it does not exist, or no longer exists")

// BeforeOperation returns the sequence on LOGS before the first segment of an operation.
func (b *Bus) BeforeOperation(ctx context.Context, id string) (uint64, error) {
	sequence, ok, err := b.Next(ctx, schema.StreamLogs, schema.FilterOperation(id, b.partitions), 0)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("operation %s: %w", id, ErrNotFound)
	}
	return sequence - 1, nil
}

// DeadLetters calls each with the dead letters of a drain ("": of all) after a number and with
// their own numbers, oldest first.
func (b *Bus) DeadLetters(ctx context.Context, drain string, after uint64, each func(number uint64, l *schema.DeadLetter) error) error {
	filter := schema.FilterDeadLetters(drain)
	for {
		raw, err := b.streams[schema.StreamDeadLetter].GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the dead letters: %w", err)
		}
		l := new(schema.DeadLetter)
		if err := json.Unmarshal(raw.Data, l); err != nil {
			return fmt.Errorf("read dead letter %d: %w", raw.Sequence, schema.ErrCorrupt)
		}
		if err := each(raw.Sequence, l); err != nil {
			return err
		}
		after = raw.Sequence
	}
}

// DeadLetter returns the dead letter with a number.
func (b *Bus) DeadLetter(ctx context.Context, number uint64) (*schema.DeadLetter, error) {
	raw, err := b.streams[schema.StreamDeadLetter].GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("dead letter %d: %w", number, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", number, err)
	}
	l := new(schema.DeadLetter)
	if err := json.Unmarshal(raw.Data, l); err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", number, schema.ErrCorrupt)
	}
	return l, nil
}

// DeleteDeadLetter removes the dead letter with a number.
func (b *Bus) DeleteDeadLetter(ctx context.Context, number uint64) error {
	if _, err := b.DeadLetter(ctx, number); err != nil {
		return err
	}
	if err := b.streams[schema.StreamDeadLetter].DeleteMsg(ctx, number); err != nil {
		return fmt.Errorf("remove dead letter %d: %w", number, err)
	}
	return nil
}

// CountDeadLetters returns the number of dead letters of a drain.
func (b *Bus) CountDeadLetters(ctx context.Context, drain string) (uint64, error) {
	n, err := b.Count(ctx, schema.StreamDeadLetter, []string{schema.FilterDeadLetters(drain)}, 0)
	if err != nil {
		return 0, fmt.Errorf("count the dead letters: %w", err)
	}
	return n, nil
}
