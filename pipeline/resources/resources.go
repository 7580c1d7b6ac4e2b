// Package resources decides how much memory, and how many processors and file descriptors, the
// parts of a process use.
//
//   - Memory: a target for the garbage of the heap by role ([Process]), a soft limit that follows
//     the memory in use (limit.go), and the return of a burst's memory to the operating system
//     (trim.go).
//   - Processors: more goroutines run at once if some of them wait for the disk (processors.go).
//   - File descriptors: a bound on connections, so that they never keep the store from its files
//     (descriptors.go).
//
// Environment variables of the Go runtime take precedence: GOGC and GOMEMLIMIT over the policy of
// memory, GOMAXPROCS over that of processors.
package resources

import (
	"context"
	"os"
	"runtime/debug"
)

// A Process is a process of ttydrain, by the parts that it runs.
type Process struct {
	Gateway, Enrich, Router bool
	// DiskWriters is the number of goroutines that wait for the disk with each write.
	DiskWriters int
}

// Start applies the policy to this process. Its goroutines end with ctx.
func Start(ctx context.Context, p Process) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(p.gcPercent())
	}
	if os.Getenv("GOMAXPROCS") == "" && p.DiskWriters > 0 {
		addProcessors(p.DiskWriters)
	}
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if l := p.memoryLimit(); l != nil {
		go l.follow(ctx)
	}
	go new(trimmer).run(ctx, readHeldMemory, freeMemory)
}

// gcPercent returns the garbage that a process has at most, in percent of its live memory; see
// [debug.SetGCPercent].
func (p Process) gcPercent() int {
	switch {
	case p.isRouter():
		// Nearly all memory of a router is bytes without pointers, which are cheap to collect and
		// garbage a moment later.
		return 50
	case p.Gateway:
		// An idle session has as much garbage as live memory, and there are many. With a lower
		// percentage, a session with much output is slower.
		return 75
	}
	return 100
}

// memoryLimit returns the soft limit of a process; nil for none.
//
// A router reuses a few buffers, and has much garbage without pointers: to collect it early costs
// little. A gateway has no limit: a session with much output would be a third slower.
func (p Process) memoryLimit() *memoryLimit {
	if !p.isRouter() {
		return nil
	}
	return &memoryLimit{minimum: 32 << 20, headroom: 1. / 4}
}

// isRouter reports whether the process runs nothing but a router.
func (p Process) isRouter() bool { return p.Router && !p.Gateway && !p.Enrich }
