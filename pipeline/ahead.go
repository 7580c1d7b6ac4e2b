package pipeline

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// aheadBytes bounds the segments that are read while a batch is being written, and aheadSegments their number.
const (
	aheadBytes    = 512 << 10
	aheadSegments = 64
)

// ahead holds the segments that were read and are in no batch yet.
type ahead struct {
	queue chan fetched
	room  *semaphore.Weighted // of aheadBytes
}

func newAhead() *ahead {
	return &ahead{queue: make(chan fetched, aheadSegments), room: semaphore.NewWeighted(aheadBytes)}
}

// put waits for room, or for the end of ctx.
func (a *ahead) put(ctx context.Context, f fetched) error {
	if err := a.room.Acquire(ctx, int64(min(f.size, aheadBytes))); err != nil {
		return err
	}
	select {
	case a.queue <- f:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// took makes the room free of a segment that is in a batch now.
func (a *ahead) took(f fetched) { a.room.Release(int64(min(f.size, aheadBytes))) }
