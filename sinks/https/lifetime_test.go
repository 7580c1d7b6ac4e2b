package https

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// TestConnectionLifetime has a drain whose name moves while batches are written without a pause.
// The old server goes on accepting, as a load balancer does that is being drained.
func TestConnectionLifetime(t *testing.T) {
	names := sinktest.NewNames(t, "127.0.0.1")
	var opened, closed atomic.Int32 // connections of the old server
	before := newDrain(t, settings{hosts: []string{names.Name}, state: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}})
	_, port, err := net.SplitHostPort(before.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	after := newDrain(t, settings{hosts: []string{names.Name}, authority: before.authority, listener: listener})

	const lifetime = 200 * time.Millisecond
	s, err := New(Options{URL: "https://" + names.Name + ":" + port + "/", TLS: sinks.TLS{CAFile: before.authority.File}, ConnectionLifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	batch := sinktest.Entries(30, 1)
	write := func() {
		if err := s.Write(t.Context(), batch); err != nil {
			t.Errorf("a request of a connection at the end of its lifetime: %v", err)
		}
	}
	write()
	// Others are in flight whenever connections are replaced.
	var others sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer others.Wait()
	defer cancel()
	for range 3 {
		others.Go(func() {
			for ctx.Err() == nil {
				write()
			}
		})
	}
	names.Move("127.0.0.2")
	end := time.Now().Add(time.Minute)
	for len(after.posts()) == 0 || closed.Load() < opened.Load() {
		if time.Now().After(end) {
			t.Fatalf("after a minute, %d requests went to the old address and %d to the new one; of %d old connections %d are closed",
				len(before.posts()), len(after.posts()), opened.Load(), closed.Load())
		}
		write()
	}
	cancel()
	others.Wait()
	old := len(before.posts())
	for range 10 {
		write()
	}
	if n := len(before.posts()); n != old {
		t.Errorf("%d requests went to the old address after its connections were closed", n-old)
	}
}
