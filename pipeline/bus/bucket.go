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

// CreateOperation records an operation and assigns its ID.
func (b *Bus) CreateOperation(ctx context.Context, op *schema.Operation) error {
	op.ID = ""
	data, err := json.Marshal(op)
	if err != nil {
		return fmt.Errorf("encode the operation: %w", err)
	}
	if err := b.disk.admit(forSessions, len(data)); err != nil {
		return fmt.Errorf("record the operation: %w", err)
	}
	if err := b.roomForSession(ctx); err != nil {
		return fmt.Errorf("record the operation: %w", err)
	}
	key := schema.Token(op.Stack) + "." + schema.Token(op.App) + "." + nuid.Next()
	// Not Create: if an answer is lost on a cluster, it would find the key in use and read it, for
	// which a gateway has no permission.
	revision, err := b.operations.Put(ctx, key, data)
	if err != nil {
		return fmt.Errorf("record the operation: %w", classify(err))
	}
	op.ID = strconv.FormatUint(revision, 10)
	return nil
}

// SaveSession records the state of a session.
func (b *Bus) SaveSession(ctx context.Context, s *schema.Session) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the session: %w", err)
	}
	what := forSessions
	if !s.Ended.IsZero() {
		what = forBookkeeping
	}
	if err := b.disk.admit(what, len(data)); err != nil {
		return fmt.Errorf("record the session: %w", err)
	}
	if _, err := b.sessions.Put(ctx, schema.Token(s.Operation.ID), data); err != nil {
		return fmt.Errorf("record the session: %w", classify(err))
	}
	return nil
}

// Sessions returns the recorded state of every session, except those that ended longer ago than the
// retention plus a week. Unreadable entries are skipped, logged and counted: see Unreadable.
func (b *Bus) Sessions(ctx context.Context) ([]schema.Session, error) {
	unreadable := int64(0)
	sessions, err := readable[schema.Session](ctx, b.sessions, ">", "the sessions", func(key string) {
		unreadable++
		b.log.Error("record of session skipped: it is corrupt", "key", key)
	})
	if err == nil {
		b.unreadable.Store(unreadable)
	}
	return sessions, err
}

// Unreadable returns the number of sessions that could not be read when they were last listed.
func (b *Bus) Unreadable() int64 { return b.unreadable.Load() }

// all returns all values of a bucket whose keys match a pattern.
func all[T any](ctx context.Context, bucket jetstream.KeyValue, keys, what string) ([]T, error) {
	var corrupt string
	values, err := readable[T](ctx, bucket, keys, what, func(key string) { corrupt = key })
	if err == nil && corrupt != "" {
		return nil, fmt.Errorf("list %s: %s: %w", what, corrupt, schema.ErrCorrupt)
	}
	return values, err
}

// readable returns the readable values of a bucket whose keys match a pattern, and calls skipped
// with the keys of the others.
func readable[T any](ctx context.Context, bucket jetstream.KeyValue, keys, what string, skipped func(key string)) ([]T, error) {
	var values []T
	err := list(ctx, bucket, keys, "list "+what, func(entry jetstream.KeyValueEntry) error {
		var v T
		if err := json.Unmarshal(entry.Value(), &v); err != nil {
			skipped(entry.Key())
			return nil
		}
		values = append(values, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}
