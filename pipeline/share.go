package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

const (
	// windowBytes bounds what a drain's workers keep of what they have read and not delivered, all
	// together, about, in memory. For larger batches it is those. Where each record is sent by itself
	// it is twice as much, since more operations have to be in it.
	windowBytes = 4 << 20
	// recordMemory is about how much memory a record takes beside its bytes.
	recordMemory = 256
)

// A share is what a drain's workers have together, so that what it costs does not grow with the
// partitions.
type share struct {
	slots chan struct{} // tokens, as newSlots makes them
	// processors are tokens for writes of a drain that is far behind.
	processors chan struct{}
	room       *semaphore.Weighted
	bytes      int64 // of room
	proof      *proof
	pace       *pace
	spare      sync.Pool // of *schema.Segment: those that were delivered, without what their records point to
}

func newShare(d *Drain) *share {
	bytes := max(windowBytes, int64(d.BatchBytes))
	if d.Alone {
		bytes *= 2
	}
	return &share{slots: newSlots(d.Writers), processors: newSlots(processors()), room: semaphore.NewWeighted(bytes), bytes: bytes,
		proof: newProof(), pace: newPace(d)}
}

// blank is a segment to read into.
func (s *share) blank() *schema.Segment {
	if free, ok := s.spare.Get().(*schema.Segment); ok {
		return free
	}
	return new(schema.Segment)
}

// reuse takes a segment back, of which nothing may be used any more: most of what a router would
// throw away are records' memory.
func (s *share) reuse(segment *schema.Segment) {
	clear(segment.Records) // the messages are not kept by them
	*segment = schema.Segment{Records: segment.Records[:0]}
	s.spare.Put(segment)
}

// newSlots makes a token for each of n writes that may be under way.
func newSlots(n int) chan struct{} {
	slots := make(chan struct{}, n)
	for range n {
		slots <- struct{}{}
	}
	return slots
}

// A sharedSink is closed when the last of its workers has closed it.
type sharedSink struct {
	sinks.Sink
	users atomic.Int32
}

func (s *sharedSink) Close() error {
	if s.users.Add(-1) > 0 {
		return nil
	}
	return s.Sink.Close()
}

// openSinks opens a sink for each of n workers. One that takes several writes at a time is the same
// for all, with the same connections and buffers.
func (d *Drain) openSinks(n int) ([]sinks.Sink, error) {
	all := make([]sinks.Sink, 0, n)
	for len(all) < n {
		sink, err := d.Open()
		if err != nil {
			for _, s := range all {
				err = errors.Join(err, s.Close())
			}
			return nil, fmt.Errorf("drain %s: %w", d.Name, err)
		}
		if d.Writers > 1 {
			shared := &sharedSink{Sink: sink}
			shared.users.Store(int32(n))
			return slices.Repeat([]sinks.Sink{shared}, n), nil
		}
		all = append(all, sink)
	}
	return all, nil
}

// slotsOf gives the slots of one of the workers: where a sink takes one write at a time, each has
// its own.
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

// take waits for room for a segment that is still to be decoded, and says how much that is, or for
// the end of ctx. One that is larger than all of it takes that.
func (c *claim) take(ctx context.Context, m bus.Message) (room int64, err error) {
	room = c.share.bytes
	if most := uint64(room) / recordMemory; m.Records < most {
		room = min(room, int64(len(m.Data))+recordMemory*int64(m.Records))
	}
	if err := c.share.room.Acquire(ctx, room); err != nil {
		return 0, err
	}
	c.has.Add(room)
	return room, nil
}

func (c *claim) release(n int64) {
	c.has.Add(-n)
	c.share.room.Release(n)
}

func (c *claim) releaseAll() { c.share.room.Release(c.has.Swap(0)) }
