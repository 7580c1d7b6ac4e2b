package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

// gapMarkerTTL is how long the marker of a removed entry of the gaps bucket is kept.
const gapMarkerTTL = time.Hour

func gapKey(drain string, partition int, operation string) string {
	return schema.Token(drain) + "." + strconv.Itoa(partition) + "." + operation
}

// Gaps gives what a drain misses of a partition and was not told yet, in no order.
func (b *Bus) Gaps(ctx context.Context, drain string, partition int) ([]schema.DrainGaps, error) {
	return all[schema.DrainGaps](ctx, b.gaps, gapKey(drain, partition, "*"), "what drain "+drain+" misses")
}

// OperationGaps gives what a drain misses of an operation and was not told yet; ok is false where that is nothing.
func (b *Bus) OperationGaps(ctx context.Context, drain string, partition int, operation string) (g schema.DrainGaps, ok bool, err error) {
	entry, err := b.gaps.Get(ctx, gapKey(drain, partition, schema.Token(operation)))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return g, false, nil
	}
	if err != nil {
		return g, false, fmt.Errorf("read what drain %s misses of operation %s: %w", drain, operation, err)
	}
	if err := json.Unmarshal(entry.Value(), &g); err != nil || g.Operation == nil {
		return g, false, fmt.Errorf("read what drain %s misses of operation %s: %w", drain, operation, schema.ErrCorrupt)
	}
	return g, true, nil
}

// SaveGaps notes what a drain misses of an operation, in the place of what was noted before.
func (b *Bus) SaveGaps(ctx context.Context, drain string, partition int, g *schema.DrainGaps) error {
	if err := b.disk.room(forBookkeeping, 0); err != nil {
		return fmt.Errorf("note what drain %s misses of operation %s: %w", drain, g.Operation.ID, err)
	}
	data, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode what drain %s misses of operation %s: %w", drain, g.Operation.ID, err)
	}
	if _, err := b.gaps.Put(ctx, gapKey(drain, partition, schema.Token(g.Operation.ID)), data); err != nil {
		return fmt.Errorf("note what drain %s misses of operation %s: %w", drain, g.Operation.ID, err)
	}
	return nil
}

// DeleteGaps forgets what a drain misses of an operation: it was told.
func (b *Bus) DeleteGaps(ctx context.Context, drain string, partition int, operation string) error {
	if err := b.gaps.Purge(ctx, gapKey(drain, partition, schema.Token(operation)), jetstream.PurgeTTL(gapMarkerTTL)); err != nil {
		return fmt.Errorf("forget what drain %s missed of operation %s: %w", drain, operation, err)
	}
	return nil
}
