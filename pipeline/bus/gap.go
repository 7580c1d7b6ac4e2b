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

// A GapNote is a [schema.DrainGaps] as the bucket has it. It can be saved or deleted only while
// nobody else has changed it since it was read.
type GapNote struct {
	schema.DrainGaps
	revision uint64 // of the entry that was read or written last; 0 where there was none
}

func parseGapNote(entry jetstream.KeyValueEntry) (GapNote, error) {
	n := GapNote{revision: entry.Revision()}
	if err := json.Unmarshal(entry.Value(), &n.DrainGaps); err != nil || n.Operation == nil {
		return n, schema.ErrCorrupt
	}
	return n, nil
}

// Gaps returns the notes of a drain's partition, in no order.
func (b *Bus) Gaps(ctx context.Context, drain string, partition int) (notes []GapNote, err error) {
	watch, err := b.gaps.Watch(ctx, gapKey(drain, partition, "*"), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list the gaps of drain %s: %w", drain, err)
	}
	defer watch.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok || entry == nil { // nil: all that there was
				return notes, nil
			}
			n, err := parseGapNote(entry)
			if err != nil {
				return nil, fmt.Errorf("list the gaps of drain %s: %s: %w", drain, entry.Key(), err)
			}
			notes = append(notes, n)
		case <-ctx.Done():
			return nil, fmt.Errorf("list the gaps of drain %s: %w", drain, context.Cause(ctx))
		}
	}
}

// OperationGaps returns the note of an operation. Where there is none it returns an empty one,
// which SaveGaps can create, and ok is false.
func (b *Bus) OperationGaps(ctx context.Context, drain string, partition int, operation string) (n GapNote, ok bool, err error) {
	entry, err := b.gaps.Get(ctx, gapKey(drain, partition, schema.Token(operation)))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return n, false, nil
	}
	if err == nil {
		n, err = parseGapNote(entry)
	}
	if err != nil {
		return n, false, fmt.Errorf("read the gaps of drain %s in operation %s: %w", drain, operation, err)
	}
	return n, true, nil
}

// SaveGaps writes a note. It returns an error that wraps [ErrLeaseLost] where the note was changed
// since it was read: another worker has taken over.
func (b *Bus) SaveGaps(ctx context.Context, drain string, partition int, n *GapNote) error {
	doing := "save the gaps of drain " + drain + " in operation " + n.Operation.ID
	if err := b.disk.room(forBookkeeping, 0); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	data, err := json.Marshal(&n.DrainGaps)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	key, revision := gapKey(drain, partition, schema.Token(n.Operation.ID)), uint64(0)
	if n.revision == 0 {
		revision, err = b.gaps.Create(ctx, key, data)
	} else {
		revision, err = b.gaps.Update(ctx, key, data, n.revision)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, lostOn(err))
	}
	n.revision = revision
	return nil
}

// DeleteGaps deletes a note. It returns an error that wraps [ErrLeaseLost] where the note was
// changed since it was read.
func (b *Bus) DeleteGaps(ctx context.Context, drain string, partition int, n *GapNote) error {
	key := gapKey(drain, partition, schema.Token(n.Operation.ID))
	if err := b.gaps.Purge(ctx, key, jetstream.LastRevision(n.revision), jetstream.PurgeTTL(gapMarkerTTL)); err != nil {
		return fmt.Errorf("delete the gaps of drain %s in operation %s: %w", drain, n.Operation.ID, lostOn(err))
	}
	return nil
}

// lostOn returns ErrLeaseLost for a write that was refused because of the revision, and other
// errors as they are.
func lostOn(err error) error {
	if conflicts(err) {
		return ErrLeaseLost
	}
	return err
}
