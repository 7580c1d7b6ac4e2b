package resources

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestMemoryLimit: the limit follows what is in use, at once when that is more, and slowly when it
// is less.
func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	l := &memoryLimit{minimum: 32 * mib, headroom: .25}
	for _, step := range []struct{ used, own, least, most float64 }{ // of the limit
		{4 * mib, 6 * mib, 32 * mib, 32 * mib},
		{40 * mib, 6 * mib, 56 * mib, 56 * mib},
		{80 * mib, 10 * mib, 110 * mib, 110 * mib},
		{4 * mib, 10 * mib, 105 * mib, 109 * mib},
	} {
		if got := float64(l.next(step.used, step.own)); got < step.least || got > step.most {
			t.Errorf("with %.0f bytes in use and %.0f of Go's own, the limit is %.0f, and not from %.0f to %.0f", step.used, step.own, got, step.least, step.most)
		}
	}
	for range 600 {
		l.next(4*mib, 6*mib)
	}
	if got := l.next(4*mib, 6*mib); got != l.minimum {
		t.Errorf("after ten minutes with little in use, the limit is %d", got)
	}
}

// TestMemoryInUse: what is kept counts, and garbage does not.
func TestMemoryInUse(t *testing.T) {
	runtime.GC()
	before, _ := memoryInUse()
	kept := make([]byte, 64<<20)
	runtime.GC()
	with, own := memoryInUse()
	runtime.KeepAlive(kept)
	if grown := with - before; grown < 60<<20 || grown > 80<<20 {
		t.Errorf("with 64 MiB more, %.0f bytes more are in use", grown)
	}
	if own < 1<<20 || own > 60<<20 {
		t.Errorf("Go itself uses %.0f bytes", own)
	}
	runtime.GC()
	if after, _ := memoryInUse(); after-before > 20<<20 {
		t.Errorf("when it is gone, %.0f bytes more are in use", after-before)
	}
}

func TestFollowRemovesLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	l := Process{Router: true}.memoryLimit()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.follow(ctx)
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("a limit of %d bytes is left", got)
	}
}
