package bus

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// A crew works on all partitions for one process, like the router.
type crew struct {
	bus    *Bus
	cancel context.CancelFunc
	done   sync.WaitGroup
	has    atomic.Int64 // leases
}

func startCrew(t *testing.T, options Options, working *[8]atomic.Int64) *crew {
	t.Helper()
	b, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	c := &crew{bus: b}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	t.Cleanup(c.stop)
	for i := range working {
		c.done.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				l, err := b.Acquire(ctx, "drain.siem."+strconv.Itoa(i))
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				if n := working[i].Add(1); n > 1 {
					t.Errorf("%d processes have the lease on partition %d", n, i)
				}
				c.has.Add(1)
				within, stop := l.Within(ctx)
				select {
				case <-l.Handover():
					if err := l.Save(ctx, l.Position()+1); err != nil {
						t.Error(err)
					}
				case <-within.Done():
					if errors.Is(context.Cause(within), ErrLeaseLost) {
						t.Error("a lease was lost, and not released")
					}
				}
				stop(nil)
				c.has.Add(-1)
				working[i].Add(-1)
				l.Release()
			}
		})
	}
	return c
}

func (c *crew) stop() {
	c.cancel()
	c.done.Wait()
	c.bus.Close()
}

// TestBalance: processes that start and stop share the leases, and no lease ever has two holders.
func TestBalance(t *testing.T) {
	t.Parallel()
	address := porttest.Reserve(t)
	listen(t, address, t.TempDir())
	options := Options{URL: "nats://" + address, Username: "ttydrain", Password: "right", Partitions: 8}
	var working [8]atomic.Int64
	a := startCrew(t, options, &working)
	waittest.Until(t, "one has all", func() bool { return a.has.Load() == 8 })
	b := startCrew(t, options, &working)
	waittest.Until(t, "two have half each", func() bool { return a.has.Load() == 4 && b.has.Load() == 4 })
	c := startCrew(t, options, &working)
	waittest.Until(t, "three share", func() bool {
		x, y, z := a.has.Load(), b.has.Load(), c.has.Load()
		return x+y+z == 8 && x <= 3 && y <= 3 && z <= 3
	})
	a.stop()
	waittest.Until(t, "two have half each again", func() bool { return b.has.Load() == 4 && c.has.Load() == 4 })
	b.stop()
	waittest.Until(t, "one has all again", func() bool { return c.has.Load() == 8 })
}

// TestUnclaimed: a lease that is left to a process that does not claim it is taken nevertheless.
func TestUnclaimed(t *testing.T) {
	t.Parallel()
	address := porttest.Reserve(t)
	listen(t, address, t.TempDir())
	options := Options{URL: "nats://" + address, Username: "ttydrain", Password: "right", Partitions: 8}
	b, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.roster.join("drain.siem.0") // which never takes it
	a, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	a.roster.join("drain.siem.0")
	waittest.Until(t, "the two know of each other", func() bool {
		a.roster.mu.Lock()
		defer a.roster.mu.Unlock()
		k := a.roster.kinds["drain.siem"]
		return k != nil && len(k.others) == 1
	})
	var had sync.WaitGroup
	for i := range 8 {
		had.Go(func() {
			l, err := a.Acquire(t.Context(), "drain.siem."+strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(l.Release)
		})
	}
	had.Wait()
}
