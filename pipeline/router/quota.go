package router

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// windowBytes bounds the memory for segments that a drain's workers, all together, have read and
	// not delivered. It is more for larger batches, and twice as much where each record is sent by
	// itself, since more operations have to be in the window then.
	windowBytes = 4 << 20
	// recordMemory is the approximate memory of a record beside its bytes.
	recordMemory = 256
	// readAhead is the number of segments that are read ahead of the dispatcher.
	readAhead = 64
	// largeLag is the number of unread segments from which on a drain leaves processors to others.
	largeLag = 2 * readAhead
	// processorTime is the time for which a write counts as using a processor. One that takes longer
	// waits for the network, or for the drain.
	processorTime = 20 * time.Millisecond
)

// A quota limits the resources that the workers of one drain use together, so that the cost of a
// drain does not grow with the number of partitions. It also holds their common knowledge of the
// drain.
type quota struct {
	slots      chan struct{}       // tokens of concurrent writes
	processors chan struct{}       // tokens of writes of a drain with a large lag
	memory     *semaphore.Weighted // of segments in the workers' windows
	bytes      int64               // of memory
	proof      *proof
	pace       *pace
	spare      sync.Pool // of *schema.Segment without records
}

func newQuota(d *drain.Drain) *quota {
	bytes := max(windowBytes, int64(d.BatchBytes))
	if d.Alone {
		bytes *= 2
	}
	return &quota{
		slots: newTokens(d.Writers), processors: newTokens(processorCount()),
		memory: semaphore.NewWeighted(bytes), bytes: bytes, proof: newProof(), pace: newPace(d),
	}
}

// newTokens returns a channel with n tokens.
func newTokens(n int) chan struct{} {
	tokens := make(chan struct{}, n)
	for range n {
		tokens <- struct{}{}
	}
	return tokens
}

// workerSlots returns the slots of one worker: its own if a sink takes one write at a time.
func (q *quota) workerSlots() chan struct{} {
	if cap(q.slots) <= 1 {
		return newTokens(1)
	}
	return q.slots
}

// blankSegment returns a segment to decode into.
func (q *quota) blankSegment() *schema.Segment {
	if s, ok := q.spare.Get().(*schema.Segment); ok {
		return s
	}
	return new(schema.Segment)
}

// recycle takes back a segment that is no longer used, for the memory of its records.
func (q *quota) recycle(s *schema.Segment) {
	clear(s.Records) // they hold references to the message
	*s = schema.Segment{Records: s.Records[:0]}
	q.spare.Put(s)
}

// processorCount returns the number of goroutines that can run at once. GOMAXPROCS can be higher
// than the number of CPUs, for goroutines that wait for the disk.
func processorCount() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

// acquireProcessor blocks until a write of a drain with a large lag may use a processor, or until
// ctx is done. Encoding and encrypting a backlog never waits: with all writers at it, current
// output would wait for a processor at each step to drains that have no backlog. A drain with a
// slow network loses nothing, since a write counts for at most processorTime.
func (q *quota) acquireProcessor(ctx context.Context) (release func()) {
	select {
	case <-q.processors:
	case <-ctx.Done():
		return func() {}
	}
	back := func() { q.processors <- struct{}{} }
	expired := time.AfterFunc(processorTime, back)
	return func() {
		if expired.Stop() { // otherwise it was released by then
			back()
		}
	}
}

// A reservation is the part of a quota's memory that one worker uses.
type reservation struct {
	quota *quota
	used  atomic.Int64
}

// acquire blocks until there is memory for a message that is to be decoded, or until ctx is done.
// It returns how much it has reserved. A message that is larger than the quota reserves all of it.
func (r *reservation) acquire(ctx context.Context, m bus.Message) (memory int64, err error) {
	memory = r.quota.bytes
	if limit := uint64(memory) / recordMemory; m.Records < limit {
		memory = min(memory, int64(len(m.Data))+recordMemory*int64(m.Records))
	}
	if err := r.quota.memory.Acquire(ctx, memory); err != nil {
		return 0, err
	}
	r.used.Add(memory)
	return memory, nil
}

func (r *reservation) release(memory int64) {
	r.used.Add(-memory)
	r.quota.memory.Release(memory)
}

func (r *reservation) releaseAll() { r.quota.memory.Release(r.used.Swap(0)) }
