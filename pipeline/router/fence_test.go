package router

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// TestConcurrentWorkers: the leases of two processes are deleted again and again, so that both do
// the same work at the same time. Every record is on LOGS once, and the drain has them in order.
func TestConcurrentWorkers(t *testing.T) {
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ends with the test
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start")
	}
	open := func() *bus.Bus {
		b, err := bus.Open(t.Context(), bus.Options{URL: s.ClientURL(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	first := &rig{t: t, bus: open(), key: testKey(t)}
	all := first.memoryDrain("all", nil)
	second := &rig{t: t, bus: open(), key: first.key, drains: first.drains}
	first.start()
	second.start()

	stop := make(chan struct{})
	var load sync.WaitGroup
	type session struct {
		op    *schema.Operation
		shown []byte
	}
	var sessions []session
	load.Go(func() { // ends with stop
		for rng := rand.New(rand.NewPCG(6, 6)); ; {
			op, shown := first.session(rng, "web", 50_000, len(sessions)%2 == 0)
			sessions = append(sessions, session{op, shown})
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	leases, err := js.Stream(t.Context(), "KV_"+schema.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	// The other process acquires a deleted lease before its holder notices.
	purge := time.NewTicker(time.Second)
	defer purge.Stop()
	deadline := time.After(time.Minute)
	overlaps, overlapping := 0, false
	for overlaps < 4 || overlapping {
		both := first.enricherPartitions() > 0 && second.enricherPartitions() > 0
		if both && !overlapping {
			overlaps++
		}
		overlapping = both
		select {
		case <-purge.C:
			if err := leases.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatalf("two have done the same work %d times", overlaps)
		}
	}
	close(stop)
	load.Wait()
	last := sessions[len(sessions)-1].op.ID
	for !all.has(last, schema.EventEnd) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the last session's end did not come")
		}
	}
	first.stop()
	second.stop()

	end, err := first.bus.End(t.Context(), schema.StreamLogs)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := first.bus.Read(t.Context(), schema.StreamLogs, []string{"logs.>"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var decoder schema.Decoder
	sequences := make(map[string]uint64)
	for at := uint64(0); at < end; {
		m, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at = m.Sequence
		segment, err := decoder.Segment(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range segment.Records {
			if id := segment.Operation.ID; r.Sequence != sequences[id]+1 {
				t.Fatalf("operation %s has record %d behind record %d on LOGS", id, r.Sequence, sequences[id])
			} else {
				sequences[id] = r.Sequence
			}
		}
	}
	for _, s := range sessions {
		all.check(t, s.op, s.shown)
	}
	t.Logf("%d sessions, %d segments", len(sessions), end)
}

// has reports whether a sink has an event of an operation.
func (s *memorySink) has(operation string, event schema.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.got[operation] {
		if r.Event == event {
			return true
		}
	}
	return false
}
