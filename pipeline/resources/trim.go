package resources

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A trimmer returns the memory of a burst to the operating system.
//
// The Go runtime frees memory in a collection, which it runs when enough has been allocated, or two
// minutes after the one before. A process that becomes idle after a burst therefore keeps the
// burst's garbage for minutes, and the buffers in pools, such as the NATS server's blocks of 8 MiB,
// until a second collection. The trimmer collects as soon as the process is idle and holds far more
// than it needs.
//
// It is used by one goroutine.
type trimmer struct {
	needed uint64 // bytes: the least held since the last trim that freed little
	cycles uint64 // collections until the last look
	idle   int    // consecutive looks since the last collection; negative after a trim
}

const (
	trimInterval = 5 * time.Second // between two looks
	// trimIdle is the number of looks without a collection after which the process counts as idle:
	// 15 s, longer than the NATS server keeps a block in memory that is no longer read (10 s). After
	// a trim it takes twice as many, which bounds the processor time: a trim costs two collections.
	trimIdle = 3
	// trimSlack is the least slack; it is a quarter of needed where that is more.
	trimSlack = 16 << 20
)

// run trims until ctx is done.
func (t *trimmer) run(ctx context.Context, read func() heldMemory, free func()) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if before := read(); t.shouldTrim(before) {
			free()
			t.trimmed(before, read())
		}
	}
}

// shouldTrim reports whether the process is idle and holds much more memory than it needs.
func (t *trimmer) shouldTrim(m heldMemory) bool {
	t.needed = min(t.needed, m.bytes)
	if m.cycles != t.cycles {
		t.cycles, t.idle = m.cycles, min(t.idle, 0)
		return false
	}
	t.idle++
	return t.idle >= trimIdle && m.bytes >= t.needed+t.slack()
}

// trimmed records the result of a trim. If it freed little, the rest is needed, and there is no
// other trim until the process holds more.
func (t *trimmer) trimmed(before, after heldMemory) {
	if after.bytes+t.slack() > before.bytes {
		t.needed = after.bytes
	}
	t.cycles, t.idle = after.cycles, -trimIdle
}

// slack returns the number of bytes that may be held beyond needed.
func (t *trimmer) slack() uint64 { return max(trimSlack, t.needed/4) }

// heldMemory is the memory that the Go runtime has from the operating system.
type heldMemory struct {
	bytes  uint64 // not returned
	cycles uint64 // completed collections
}

// readHeldMemory returns the memory that this process holds now.
func readHeldMemory() heldMemory {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	return heldMemory{samples[0].Value.Uint64() - samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// freeMemory returns all free memory to the operating system, that of pools included: a [sync.Pool]
// keeps unused memory for one collection.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}
