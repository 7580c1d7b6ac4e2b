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

// gapMarkerTTL is the time for which the marker of a deleted entry of the gaps bucket is kept.
const gapMarkerTTL = time.Hour

func gapKey(drain string, partition int, operation string) string {
	return schema.Token(drain) + "." + strconv.Itoa(partition) + "." + operation
}

// GapNote is a [schema.DrainGaps] with its revision in the bucket. It can only be saved or deleted
// if nobody has changed it since it was read.
type GapNote struct {
	schema.DrainGaps
	revision uint64 // of the entry when it was last read or written; 0 if it does not exist
}

func parseGapNote(entry jetstream.KeyValueEntry) (GapNote, error) {
	n := GapNote{revision: entry.Revision()}
	if err := json.Unmarshal(entry.Value(), &n.DrainGaps); err != nil || n.Operation == nil {
		return n, schema.ErrCorrupt
	}
	return n, nil
}

// Gaps returns the notes of a drain's partition, in no particular order.
func (b *Bus) Gaps(ctx context.Context, drain string, partition int) (notes []GapNote, err error) {
	err = list(ctx, b.gaps, gapKey(drain, partition, "*"), "list the gaps of drain "+drain, func(entry jetstream.KeyValueEntry) error {
		n, err := parseGapNote(entry)
		if err != nil {
			return fmt.Errorf("%s: %w", entry.Key(), err)
		}
		notes = append(notes, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return notes, nil
}

// OperationGaps returns the note of an operation. If there is none, it returns an empty note, which
// SaveGaps can create, and ok is false.
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

// SaveGaps writes a note. If the note was changed since it was read, because another worker has
// taken over, it returns an error that wraps [ErrLeaseLost].
func (b *Bus) SaveGaps(ctx context.Context, drain string, partition int, n *GapNote) error {
	doing := "save the gaps of drain " + drain + " in operation " + n.Operation.ID
	if err := b.disk.admit(forBookkeeping, 0); err != nil {
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

// DeleteGaps deletes a note. If the note was changed since it was read, it returns an error that
// wraps [ErrLeaseLost].
func (b *Bus) DeleteGaps(ctx context.Context, drain string, partition int, n *GapNote) error {
	key := gapKey(drain, partition, schema.Token(n.Operation.ID))
	if err := b.gaps.Purge(ctx, key, jetstream.LastRevision(n.revision), jetstream.PurgeTTL(gapMarkerTTL)); err != nil {
		return fmt.Errorf("delete the gaps of drain %s in operation %s: %w", drain, n.Operation.ID, lostOn(err))
	}
	return nil
}

// lostOn returns ErrLeaseLost for a write that was refused because of the revision, and any other
// error unchanged.
func lostOn(err error) error {
	if conflicts(err) {
		return ErrLeaseLost
	}
	return err
}
