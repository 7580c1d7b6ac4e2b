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
	key := schema.Token(op.Stack) + "." + schema.Token(op.App) + "." + nuid.Next()
	revision, err := b.operations.Create(ctx, key, data)
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
	if _, err := b.sessions.Put(ctx, schema.Token(s.Operation.ID), data); err != nil {
		return fmt.Errorf("record the session: %w", classify(err))
	}
	return nil
}

// Sessions gives what is recorded of every session.
func (b *Bus) Sessions(ctx context.Context) ([]schema.Session, error) {
	return all[schema.Session](ctx, b.sessions, "the sessions")
}

// all gives all values of a bucket.
func all[T any](ctx context.Context, bucket jetstream.KeyValue, what string) ([]T, error) {
	watch, err := bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
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
				return nil, fmt.Errorf("list %s: %s: %w", what, entry.Key(), schema.ErrCorrupt)
			}
			values = append(values, v)
		case <-ctx.Done():
			return nil, fmt.Errorf("list %s: %w", what, context.Cause(ctx))
		}
	}
}
