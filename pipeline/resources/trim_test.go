package resources

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryTrimmerAfterBurst lets a simulated process hold memory that only a trim frees.
func TestMemoryTrimmerAfterBurst(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name          string
		needed, burst uint64        // bytes
		collects      time.Duration // between the process's own collections; 0 for none
		trims         int           // in ten minutes
		held          uint64        // bytes at their end
	}{
		{"idle after a burst", 20 * mib, 200 * mib, 0, 2, 20 * mib},
		{"idle with little garbage", 10 * mib, 5 * mib, 0, 0, 15 * mib},
		{"idle with much memory in use", 400 * mib, 0, 0, 1, 400 * mib},
		{"busy", 20 * mib, 200 * mib, 7 * time.Second, 0, 220 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				from, garbage, trims := time.Now(), c.burst, 0
				read := func() heldMemory {
					m := heldMemory{bytes: c.needed + garbage, cycles: uint64(trims)}
					if c.collects > 0 {
						m.cycles += uint64(time.Since(from) / c.collects)
					}
					return m
				}
				var done sync.WaitGroup
				done.Go(func() { new(trimmer).run(ctx, read, func() { trims++; garbage = 0 }) })
				time.Sleep(10 * time.Minute)
				cancel()
				done.Wait()
				if held := read().bytes; trims != c.trims || held != c.held {
					t.Errorf("%d trims, %d MiB held, expected %d and %d", trims, held/mib, c.trims, c.held/mib)
				}
			})
		})
	}
}

// TestMemoryTrimmerRepeats: a second burst is trimmed as the first, and memory that came into use
// is not taken for a burst forever.
func TestMemoryTrimmerRepeats(t *testing.T) {
	const mib = 1 << 20
	var m trimmer
	// trims returns the number of trims until there are none, where each leaves so many bytes.
	trims := func(held, left uint64) (n int) {
		for quiet := 0; quiet < 3*trimIdle; quiet++ {
			if m.shouldTrim(heldMemory{held, m.cycles}) {
				m.trimmed(heldMemory{held, m.cycles}, heldMemory{left, m.cycles + 2})
				held, quiet = left, -1
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		held, left uint64
		trims      int
	}{
		{40 * mib, 39 * mib, 1},
		{54 * mib, 54 * mib, 0},
		{56 * mib, 56 * mib, 1},
		{300 * mib, 56 * mib, 1},
		{300 * mib, 200 * mib, 2},
		{249 * mib, 200 * mib, 0},
		{251 * mib, 200 * mib, 1},
		{300 * mib, 40 * mib, 1},
		{57 * mib, 40 * mib, 1},
	} {
		if got := trims(step.held, step.left); got != step.trims {
			t.Errorf("holding %d MiB of which a trim leaves %d: %d trims, expected %d", step.held/mib, step.left/mib, got, step.trims)
		}
	}
}

// TestFreeMemory: buffers in a pool are returned to the system at once.
func TestFreeMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection but those of freeMemory
	freeMemory()
	before := readHeldMemory()
	var pool sync.Pool
	for range 64 {
		buffer := make([]byte, 1<<20)
		pool.Put(&buffer)
	}
	with := readHeldMemory()
	freeMemory()
	after := readHeldMemory()
	runtime.KeepAlive(&pool)
	if with.bytes < before.bytes+48<<20 {
		t.Fatalf("64 MiB in a pool made %d MiB of %d MiB", with.bytes>>20, before.bytes>>20)
	}
	if after.bytes > before.bytes+16<<20 {
		t.Errorf("%d MiB are held, %d MiB before", after.bytes>>20, before.bytes>>20)
	}
	if after.cycles < with.cycles+2 {
		t.Errorf("%d collections, expected two", after.cycles-with.cycles)
	}
}
