package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/ttydrain/ttydrain/schema"
)

// CreateOperation records an operation and gives it its ID.
func (b *Bus) CreateOperation(ctx context.Context, op *schema.Operation) error {
	op.ID = ""
	data, err := json.Marshal(op)
	if err != nil {
		return fmt.Errorf("encode the operation: %w", err)
	}
	if err := b.disk.room(forSessions, len(data)); err != nil {
		return fmt.Errorf("record the operation: %w", err)
	}
	if err := b.roomForSession(ctx); err != nil {
		return fmt.Errorf("record the operation: %w", err)
	}
	key := schema.Token(op.Stack) + "." + schema.Token(op.App) + "." + nuid.Next()
	// Not Create: of an answer that was lost on a cluster, it would find the key in use and want to
	// read whose it is, which a gateway may not.
	revision, err := b.operations.Put(ctx, key, data)
	if err != nil {
		return fmt.Errorf("record the operation: %w", classify(err))
	}
	op.ID = strconv.FormatUint(revision, 10)
	return nil
}

// SaveSession records how a session stands.
func (b *Bus) SaveSession(ctx context.Context, s *schema.Session) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the session: %w", err)
	}
	what := forSessions
	if !s.Ended.IsZero() {
		what = forBookkeeping
	}
	if err := b.disk.room(what, len(data)); err != nil {
		return fmt.Errorf("record the session: %w", err)
	}
	if _, err := b.sessions.Put(ctx, schema.Token(s.Operation.ID), data); err != nil {
		return fmt.Errorf("record the session: %w", classify(err))
	}
	return nil
}

// Sessions gives what is recorded of every session, those that ended longer ago than the retention
// and a week excepted. What can't be read is left out, told to the log, and counted: see
// Unreadable.
func (b *Bus) Sessions(ctx context.Context) ([]schema.Session, error) {
	unreadable := int64(0)
	sessions, err := readable[schema.Session](ctx, b.sessions, ">", "the sessions", func(key string) {
		unreadable++
		b.log.Error("what is recorded of a session can't be read and is passed over", "key", key)
	})
	if err == nil {
		b.unreadable.Store(unreadable)
	}
	return sessions, err
}

// Unreadable is how many sessions could not be read when they were last listed.
func (b *Bus) Unreadable() int64 { return b.unreadable.Load() }

// all gives all values of a bucket whose keys a pattern matches.
func all[T any](ctx context.Context, bucket jetstream.KeyValue, keys, what string) ([]T, error) {
	var corrupt string
	values, err := readable[T](ctx, bucket, keys, what, func(key string) { corrupt = key })
	if err == nil && corrupt != "" {
		return nil, fmt.Errorf("list %s: %s: %w", what, corrupt, schema.ErrCorrupt)
	}
	return values, err
}

// readable gives the values of a bucket that can be read and whose keys a pattern matches, and
// calls skipped with the keys of those that can't.
func readable[T any](ctx context.Context, bucket jetstream.KeyValue, keys, what string, skipped func(key string)) ([]T, error) {
	watch, err := bucket.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	defer watch.Stop()
	var values []T
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok || entry == nil { // nil: all that there was
				return values, nil
			}
			var v T
			if err := json.Unmarshal(entry.Value(), &v); err != nil {
				skipped(entry.Key())
				continue
			}
			values = append(values, v)
		case <-ctx.Done():
			return nil, fmt.Errorf("list %s: %w", what, context.Cause(ctx))
		}
	}
}
