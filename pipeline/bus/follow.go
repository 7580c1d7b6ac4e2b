package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// errFollowed is returned to follow by a function that needs no more entries.
var errFollowed = errors.New("no more entries are needed")

// follow calls each with the entries of a bucket whose keys match a pattern: with the existing
// ones, with nil after them, and then with every change. It returns nil when each returns
// errFollowed, and otherwise why it ended, such as the cause of ctx, wrapped with what was being
// done.
func follow(ctx context.Context, bucket jetstream.KeyValue, keys, doing string, each func(jetstream.KeyValueEntry) error, options ...jetstream.WatchOpt) error {
	watch, err := bucket.Watch(ctx, keys, options...)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer watch.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return fmt.Errorf("%s: %w", doing, watchEnd(ctx))
			}
			switch err := each(entry); {
			case errors.Is(err, errFollowed):
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", doing, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		}
	}
}

// watchEnd returns the reason for the end of a watch.
func watchEnd(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.New("the connection to NATS has ended")
}

// list calls each with the existing entries of a bucket whose keys match a pattern.
func list(ctx context.Context, bucket jetstream.KeyValue, keys, doing string, each func(jetstream.KeyValueEntry) error) error {
	return follow(ctx, bucket, keys, doing, func(entry jetstream.KeyValueEntry) error {
		if entry == nil {
			return errFollowed
		}
		return each(entry)
	}, jetstream.IgnoreDeletes())
}
