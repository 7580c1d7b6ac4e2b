package resources

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A memoryLimit bounds the garbage of a process at peaks: it is a soft limit of the Go runtime (see
// [debug.SetMemoryLimit]) that follows the memory in use. Below the limit the collector works as
// usual. At the limit it works earlier, and free memory goes back to the operating system at once.
// So the limit costs processor time at peaks only, and never makes the collector run in vain, as a
// limit below the memory in use would.
type memoryLimit struct {
	minimum  int64   // of the limit, in bytes
	headroom float64 // above the peak, as a fraction of it
	peak     float64 // of the bytes in use lately; 0 at first
}

const (
	// limitInterval is the time between two updates of the limit, for which it can be too low after a
	// sudden rise.
	limitInterval = time.Second
	// limitDecay is the fraction of a peak that is forgotten at each update: half of it in a minute.
	limitDecay = 1. / 90
)

// follow updates the limit until ctx is done, and then removes it.
func (l *memoryLimit) follow(ctx context.Context) {
	tick := time.NewTicker(limitInterval)
	defer tick.Stop()
	for {
		debug.SetMemoryLimit(l.next(memoryInUse()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			debug.SetMemoryLimit(math.MaxInt64)
			return
		}
	}
}

// next returns the limit in bytes, by the bytes in use and the overhead of the Go runtime.
func (l *memoryLimit) next(used, overhead float64) int64 {
	l.peak = max(used, l.peak*(1-limitDecay))
	return max(l.minimum, int64(overhead+l.peak*(1+l.headroom)))
}

// memoryInUse returns the bytes that the last collection left in the heap, with the stacks of
// goroutines, and the bytes that the Go runtime uses for itself.
func memoryInUse() (used, overhead float64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	var bytes [7]float64
	for i := range samples {
		if samples[i].Value.Kind() == metrics.KindUint64 { // otherwise this version of Go lacks it
			bytes[i] = float64(samples[i].Value.Uint64())
		}
	}
	overhead = bytes[0]
	for _, heap := range bytes[2:] {
		overhead -= heap
	}
	return bytes[1] + bytes[2], max(0, overhead)
}
