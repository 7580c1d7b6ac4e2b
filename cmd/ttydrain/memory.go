package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcPercent is how much garbage a process with these parts has at the most, in percent of what it
// keeps; see [debug.SetGCPercent].
func gcPercent(parts roles) int {
	switch {
	case parts == roles{router: true}:
		// Nearly all that a router has in memory are bytes without pointers, for which collecting costs
		// little, and which are garbage a moment later.
		return 50
	case parts.gateway:
		// A session that does nothing has as much garbage as it keeps, and there are many. With less than
		// this, one that shows a lot is slower.
		return 75
	}
	return 100
}

// A memoryLimit bounds how much garbage a process has, where that has become much: a soft limit of
// Go's memory (see [debug.SetMemoryLimit]) which follows what is in use. Below it the collector
// works as always. At it, it works earlier, and what is free goes back to the system at once: so
// the limit costs at the peaks alone, and never has the collector run for nothing, as one that is
// below what is in use would.
type memoryLimit struct {
	least int64   // bytes: so much may be always
	more  float64 // how much more than what is in use may be, as a part of it
	peak  float64 // bytes that were in use at the most, lately; 0 at first
}

const (
	// memoryLook is how often what is in use is looked at. For so long at the most, the limit is too
	// low for what came into use suddenly.
	memoryLook = time.Second
	// memoryForget is the part of a peak that is forgotten at each look, so that a minute later half
	// of it counts.
	memoryForget = 1. / 90
)

// memoryLimitOf is the limit of a process with these parts; nil for none. Who has set GOGC or
// GOMEMLIMIT in the environment has decided.
//
// A router alone uses the same few buffers all the time, and has much garbage, which is bytes
// without pointers: to collect it early costs little. A gateway has none: a session that shows a
// lot would be a third slower.
func memoryLimitOf(parts roles) *memoryLimit {
	switch {
	case os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "":
		return nil
	case parts == roles{router: true}:
		return &memoryLimit{least: 32 << 20, more: 1. / 4}
	}
	return nil
}

// follow keeps the limit until ctx is done. It does nothing where there is none.
func (l *memoryLimit) follow(ctx context.Context) {
	if l == nil {
		return
	}
	tick := time.NewTicker(memoryLook)
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

// next gives the limit, in bytes, where so much is in use by the heap and the stacks, and so much
// by Go itself.
func (l *memoryLimit) next(used, own float64) int64 {
	l.peak = max(used, l.peak*(1-memoryForget))
	return max(l.least, int64(own+l.peak*(1+l.more)))
}

// memoryInUse is what the collector has left in the heap at its last cycle, with the stacks of
// goroutines, and what else Go has for itself, in bytes.
func memoryInUse() (used, own float64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	var bytes [7]float64
	for i := range samples {
		if samples[i].Value.Kind() == metrics.KindUint64 { // otherwise this Go does not have it
			bytes[i] = float64(samples[i].Value.Uint64())
		}
	}
	own = bytes[0]
	for _, heap := range bytes[2:] {
		own -= heap
	}
	return bytes[1] + bytes[2], max(0, own)
}
