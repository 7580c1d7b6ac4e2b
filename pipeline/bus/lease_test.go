package bus

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

func acquire(t testing.TB, b *Bus, name string) *Lease {
	t.Helper()
	l, err := b.Acquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestPositions: each work has its own position, which survives a restart.
func TestPositions(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	one, two := acquire(t, b, "enrich.0"), acquire(t, b, "drain.siem.0")
	if one.Position() != 0 || two.Position() != 0 {
		t.Errorf("positions %d and %d at first", one.Position(), two.Position())
	}
	for _, position := range []uint64{7, 8, 1<<63 + 5} {
		if err := one.Save(t.Context(), position); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Save(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	one.Release()
	if again := acquire(t, b, "enrich.0"); again.Position() != 1<<63+5 {
		t.Errorf("position %d when taken again", again.Position())
	}
	b.Close() // with two leases held, which end with the server
	b = open(t, dir, 1)
	one, two = acquire(t, b, "enrich.0"), acquire(t, b, "drain.siem.0")
	defer one.Release()
	defer two.Release()
	if one.Position() != 1<<63+5 || two.Position() != 9 {
		t.Errorf("positions %d and %d after a new start", one.Position(), two.Position())
	}
}

func TestLeaseIsExclusive(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	first := acquire(t, b, "work")
	if err := first.Save(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	// Another process waits until its context is done.
	why := errors.New("a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	refused := make(chan error)
	go func() { // ends with ctx
		_, err := b.Acquire(ctx, "work")
		refused <- err
	}()
	cancel(why)
	if err := <-refused; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	// It gets the lease as soon as it is released.
	second := make(chan *Lease)
	go func() { // ends when first is released
		l, err := b.Acquire(t.Context(), "work")
		if err != nil {
			t.Error(err)
		}
		second <- l
	}()
	within, stop := first.Within(t.Context())
	defer stop(nil)
	first.Release()
	<-within.Done()
	if errors.Is(context.Cause(within), ErrLeaseLost) {
		t.Error("a released lease is reported as lost")
	}
	l := <-second
	if l == nil {
		t.FailNow()
	}
	if l.Position() != 5 {
		t.Errorf("position %d", l.Position())
	}
	// The previous holder can no longer move the position.
	if err := first.Save(t.Context(), 6); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("%v", err)
	}
	if err := l.Save(t.Context(), 7); err != nil {
		t.Error(err)
	}
	l.Release()
}

// TestStolenLease: a holder whose lease was taken over detects it, at the latest when it saves.
func TestStolenLease(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	l := acquire(t, b, "work")
	thief := &Lease{bus: b, name: "work"}
	if err := thief.takePosition(t.Context()); err != nil {
		t.Fatal(err)
	}
	within, stop := l.Within(t.Context())
	defer stop(nil)
	if err := l.Save(t.Context(), 1); !errors.Is(err, ErrLeaseLost) {
		t.Fatalf("%v", err)
	}
	<-within.Done()
	if !errors.Is(context.Cause(within), ErrLeaseLost) {
		t.Errorf("the work ended with %v", context.Cause(within))
	}
	l.Release()
}

// TestAcquireCancelled ends the context at every moment of acquiring a lease: the next attempt is
// not affected.
func TestAcquireCancelled(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	for i := range 400 {
		ctx, cancel := context.WithCancel(t.Context())
		begun := make(chan struct{})
		go func() { // ends soon
			close(begun)
			for range i * 25 { // later each time
				runtime.Gosched()
			}
			cancel()
		}()
		<-begun
		l, err := b.Acquire(ctx, "work")
		if err == nil {
			l.Release()
		} else if ctx.Err() == nil {
			t.Fatal(err)
		}
		if _, err := b.leases.Get(t.Context(), "work"); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Fatalf("attempt %d has left a lease: %v", i, err)
		}
	}
}

// A cancelled save of a position does not prevent the next save.
func TestSaveCancelled(t *testing.T) {
	b := openSynced(t)
	lease := acquire(t, b, "drain.siem.0")
	defer lease.Release()
	s := b.embedded.syncedOf("KV_" + schema.BucketPositions)
	toDisk, begun, allowed := s.sync, make(chan struct{}, 2), make(chan struct{})
	s.sync = func() error {
		begun <- struct{}{}
		<-allowed
		return toDisk()
	}
	other := make(chan error)
	go func() {
		_, err := b.positions.Put(t.Context(), "drain.other.0", []byte("1"))
		other <- err
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	saved := make(chan error)
	go func() { saved <- lease.Save(ctx, 7) }()
	waittest.Until(t, "that the position waits for the disk", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.asked > lease.revision+1
	})
	cancel()
	close(allowed)
	if err := errors.Join(<-saved, <-other); err != nil {
		t.Errorf("the positions under way: %v", err)
	}
	if err := lease.Save(t.Context(), 8); err != nil || lease.Position() != 8 {
		t.Errorf("the next one: %d, %v", lease.Position(), err)
	}
}
