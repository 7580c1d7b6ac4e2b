package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"

	"github.com/nats-io/nats.go/jetstream"
)

// Applied is the result of [Apply] for a stream or a bucket.
type Applied struct {
	// Name is the name of the stream; for a KV bucket, KV_ and the name of the bucket.
	Name string `json:"name"`
	// Result is "created", "updated" or "unchanged".
	Result   string `json:"result"`
	Replicas int    `json:"replicas"`
}

// Apply creates the missing streams and buckets of all roles on a cluster, and updates the settings
// of existing ones to o, except for the number of partitions, which never changes. It is for an
// administrator with the permissions to do so; the roles then need none. After an error, the
// changes before it are in the result; Apply may be repeated safely.
func Apply(ctx context.Context, o Options) (done []Applied, err error) {
	o.Role = roleAdmin
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{partitions: max(o.Partitions, 1), streams: make(map[string]jetstream.Stream), log: o.Log, over: make(chan struct{})}
	defer b.Close()
	if err := b.connect(ctx, &o); err != nil {
		return nil, err
	}
	replicas := max(o.Replicas, 1)
	for _, s := range streams {
		before, err := b.configOf(ctx, s.name)
		if err != nil {
			return done, err
		}
		wanted := streamConfig(s.name, s.subjects, replicas, b.partitions, o.limit(s.name), o.retention())
		if err := b.ensureStream(ctx, wanted); err != nil {
			return done, err
		}
		a, err := b.update(ctx, s.name, before, func(c *jetstream.StreamConfig) {
			c.Replicas, c.MaxAge, c.Duplicates, c.Discard, c.AllowDirect = wanted.Replicas, wanted.MaxAge, wanted.Duplicates, wanted.Discard, wanted.AllowDirect
			if wanted.MaxBytes > 0 {
				c.MaxBytes = wanted.MaxBytes
			}
		})
		if err != nil {
			return done, err
		}
		a.Replicas = replicas
		done = append(done, a)
	}
	for _, k := range buckets {
		name := "KV_" + k.config.Bucket
		before, err := b.configOf(ctx, name)
		if err != nil {
			return done, err
		}
		k.config.Replicas, k.config.TTL = replicas, b.ttl(k.config)
		if _, err := b.ensureBucket(ctx, k.config); err != nil {
			return done, fmt.Errorf("create the bucket %s: %w", k.config.Bucket, err)
		}
		a, err := b.update(ctx, name, before, func(c *jetstream.StreamConfig) {
			c.Replicas, c.MaxAge, c.Description = replicas, k.config.TTL, k.config.Description
		})
		if err != nil {
			return done, err
		}
		a.Replicas = replicas
		done = append(done, a)
	}
	return done, nil
}

// configOf returns the configuration of a stream, nil if it does not exist.
func (b *Bus) configOf(ctx context.Context, name string) (*jetstream.StreamConfig, error) {
	s, err := guarded(ctx, b.refusals, name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration of the stream %s: %w", name, err)
	}
	return &s.CachedInfo().Config, nil
}

// update changes the configuration of a stream if the change has any effect. before is nil for a
// stream that was just created.
func (b *Bus) update(ctx context.Context, name string, before *jetstream.StreamConfig, change func(*jetstream.StreamConfig)) (Applied, error) {
	if before == nil {
		return Applied{Name: name, Result: "created"}, nil
	}
	wanted := *before
	if change(&wanted); reflect.DeepEqual(wanted, *before) {
		return Applied{Name: name, Result: "unchanged"}, nil
	}
	if _, err := guarded(ctx, b.refusals, name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.UpdateStream(ctx, wanted) }); err != nil {
		return Applied{}, fmt.Errorf("update the stream %s: %w", name, err)
	}
	return Applied{Name: name, Result: "updated"}, nil
}
