package resources

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

func TestProcess(t *testing.T) {
	for _, test := range []struct {
		name      string
		process   Process
		gcPercent int
		minimum   int64 // of the memory limit; 0 for no limit
	}{
		{"a router", Process{Router: true}, 50, 32 << 20},
		{"a gateway", Process{Gateway: true}, 75, 0},
		{"an enricher", Process{Enrich: true}, 100, 0},
		{"all", Process{Gateway: true, Enrich: true, Router: true}, 75, 0},
	} {
		if got := test.process.gcPercent(); got != test.gcPercent {
			t.Errorf("%s: garbage of %d %%, expected %d", test.name, got, test.gcPercent)
		}
		l := test.process.memoryLimit()
		if (l == nil) != (test.minimum == 0) || l != nil && l.minimum != test.minimum {
			t.Errorf("%s: the limit is %+v", test.name, l)
		}
	}
}

// TestStart: each policy is applied, unless the environment sets that of the Go runtime.
func TestStart(t *testing.T) {
	percent, limit, processors := debug.SetGCPercent(100), debug.SetMemoryLimit(-1), runtime.GOMAXPROCS(0)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
		runtime.GOMAXPROCS(processors)
	}()
	for _, test := range []struct {
		variable           string
		writers            int
		percent, gomaxproc int
		limited            bool
	}{
		{"", 2, 50, processors + 2, true},
		{"", 0, 50, processors, true},
		{"GOGC", 2, 100, processors + 2, false},
		{"GOMEMLIMIT", 2, 50, processors + 2, false},
		{"GOMAXPROCS", 2, 50, processors, true},
	} {
		for _, variable := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS"} {
			t.Setenv(variable, "")
		}
		if test.variable != "" {
			t.Setenv(test.variable, "100")
		}
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		runtime.GOMAXPROCS(processors)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			Start(ctx, Process{Router: true, DiskWriters: test.writers})
			synctest.Wait()
			got, gomaxproc, limited := debug.SetGCPercent(100), runtime.GOMAXPROCS(0), debug.SetMemoryLimit(-1) != math.MaxInt64
			if got != test.percent || gomaxproc != test.gomaxproc || limited != test.limited {
				t.Errorf("with %q set and %d writers: garbage of %d %%, %d goroutines, limited %t; expected %+v", test.variable, test.writers, got, gomaxproc, limited, test)
			}
			cancel()
			synctest.Wait()
		})
	}
}
