package pipeline

import (
	"context"
	"runtime"
	"time"
)

const (
	// farBehind is how many segments there are to read for a drain that is to leave processors to
	// others: more than those that a worker has read ahead.
	farBehind = 2 * fetchedSegments
	// busyFor is how long a write may be taken to use a processor. One that takes longer waits for the
	// network, or for the drain.
	busyFor = 20 * time.Millisecond
)

// processors is how many goroutines have a processor at a time: GOMAXPROCS can be more, for those
// that wait for the disk.
func processors() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

// takeProcessor has a write of a drain that is far behind wait until it is one of as few as there
// are processors, or for the end of ctx. Encoding and encrypting what a drain lacks is all work and
// no waiting: with all its writers at it, what people are shown now would wait for a processor at
// each step of its way, to drains that have nothing to catch up with. A drain that is far away
// loses nothing by it, since a write counts for busyFor at the most. give follows.
func (d *delivery) takeProcessor(ctx context.Context) (give func()) {
	if !d.state.farBehind() {
		return func() {}
	}
	select {
	case <-d.share.processors:
	case <-ctx.Done():
		return func() {}
	}
	back := func() { d.share.processors <- struct{}{} }
	late := time.AfterFunc(busyFor, back)
	return func() {
		if late.Stop() { // or it has given it back
			back()
		}
	}
}
