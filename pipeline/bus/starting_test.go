package bus

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// listen starts a NATS server at an address, with its data in a directory. It ends with the test,
// or by stop.
func listen(t *testing.T, address, dir string) (stop func()) {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	s, err := server.NewServer(&server.Options{
		Host: at.Addr().String(), Port: int(at.Port()), NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		Username: "ttydrain", Password: "right",
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ended by Shutdown
	stop = func() { s.Shutdown(); s.WaitForShutdown() }
	t.Cleanup(stop)
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start")
	}
	return stop
}

// TestServerRestart: leases and states are in memory, and are restored with their server although
// no bus is opened meanwhile. The holder of a lease gives it up, and its saved state is kept.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	address, dir := porttest.Reserve(t), t.TempDir()
	stop := listen(t, address, dir)
	options := Options{URL: "nats://" + address, Username: "ttydrain", Password: "right"}
	var buses []*Bus
	for range 2 {
		b, err := Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		buses = append(buses, b)
	}
	a, b := buses[0], buses[1]
	first := acquire(t, a, "work")
	if err := first.Save(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	within, cancel := first.Within(t.Context())
	defer cancel(nil)
	stop()
	listen(t, address, dir)

	// The other process takes the lease although the first believes that it holds it: the later writes
	// of the first are not kept.
	var second *Lease
	waittest.Until(t, "the work is taken over", func() bool {
		var err error
		second, err = b.Acquire(t.Context(), "work")
		return err == nil
	})
	if second.Position() != 3 {
		t.Errorf("position %d", second.Position())
	}
	<-within.Done()
	if err := first.Save(t.Context(), 99); err == nil {
		t.Error("the holder of a lost lease can move the position")
	}
	waittest.Until(t, "the position is saved", func() bool { return second.Save(t.Context(), 4) == nil })
	waittest.Until(t, "a state is saved", func() bool { return a.SaveDrainState(t.Context(), &schema.DrainState{Drain: "siem"}) == nil })
	first.Release()
	second.Release()
	if status, err := b.leases.Status(t.Context()); err != nil || status.(*jetstream.KeyValueBucketStatus).StreamInfo().Config.MaxAge != leaseTTL {
		t.Errorf("the leases' bucket is another: %v", err)
	}
}

// TestOpenWaits: opening a bus waits for the server for as long as a server may need to start. It
// does not wait for a running server that refuses the connection.
func TestOpenWaits(t *testing.T) {
	address := porttest.Reserve(t)
	opened := make(chan error)
	go func() { // ends when the server has started, or with an error
		b, err := Open(t.Context(), Options{URL: "nats://" + address, Username: "ttydrain", Password: "right"})
		if err == nil {
			b.Close()
		}
		opened <- err
	}()
	waittest.Until(t, "a connection is tried", func() bool {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := l.Accept()
		if err == nil {
			c.Close() // without a response
		}
		return err == nil
	})
	listen(t, address, t.TempDir())
	if err := <-opened; err != nil {
		t.Error(err)
	}
	start := time.Now()
	_, err := Open(t.Context(), Options{URL: "nats://" + address, Username: "ttydrain", Password: "wrong"})
	if err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took >= makeTimeout {
		t.Errorf("a refused client waits %s", took)
	}
}
