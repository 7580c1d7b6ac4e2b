package pipeline

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// windowBytes bounds what a drain's workers keep of what they have read and not delivered, all together, about, in memory; for
	// batches of more bytes it is twice those.
	windowBytes = 8 << 20
	// recordMemory is about how much memory a record takes beside its bytes.
	recordMemory = 256
)

// A share is what a drain's workers have together, so that what it costs does not grow with the partitions.
type share struct {
	slots chan struct{} // tokens, as newSlots makes them
	room  *semaphore.Weighted
	bytes int64 // of room
}

func newShare(d *Drain) *share {
	s := &share{slots: newSlots(d.Writers), bytes: max(windowBytes, 2*int64(d.BatchBytes))}
	s.room = semaphore.NewWeighted(s.bytes)
	return s
}

// newSlots makes a token for each of n writes that may be under way.
func newSlots(n int) chan struct{} {
	slots := make(chan struct{}, n)
	for range n {
		slots <- struct{}{}
	}
	return slots
}

// slotsOf gives the slots of one of the workers: where a sink takes one write at a time, each has its own.
func (s *share) slotsOf() chan struct{} {
	if cap(s.slots) <= 1 {
		return newSlots(1)
	}
	return s.slots
}

// A claim is what one worker has of a share's room, until it lets go of all.
type claim struct {
	share *share
	has   atomic.Int64
}

// size is how much room a segment takes. One that is larger than all of it takes that.
func (c *claim) size(f fetched) int64 {
	return min(int64(f.size+recordMemory*len(f.segment.Records)), c.share.bytes)
}

// take waits for room for a segment, or for the end of ctx.
func (c *claim) take(ctx context.Context, f fetched) error {
	n := c.size(f)
	if err := c.share.room.Acquire(ctx, n); err != nil {
		return err
	}
	c.has.Add(n)
	return nil
}

func (c *claim) release(n int64) {
	c.has.Add(-n)
	c.share.room.Release(n)
}

func (c *claim) releaseAll() { c.share.room.Release(c.has.Swap(0)) }
