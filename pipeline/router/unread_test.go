package router

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestUnreadDrain allows LOGS one consumer for two drains: the one that cannot be read for is
// unread, with the error, and gets everything once the limit is lifted.
func TestUnreadDrain(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ended by Shutdown
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server did not start")
	}
	b, err := bus.Open(t.Context(), bus.Options{URL: s.ClientURL(), Replicas: 1, Partitions: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(consumers int) {
		t.Helper()
		logs, err := js.Stream(t.Context(), schema.StreamLogs)
		if err != nil {
			t.Fatal(err)
		}
		config := logs.CachedInfo().Config
		config.MaxConsumers = consumers
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	g := &rig{t: t, bus: b, key: testKey(t)}
	sinks := []*memorySink{g.memoryDrain("one", nil), g.memoryDrain("two", nil)}
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	states := func() []string { return []string{stateOf(t, o, "one").State, stateOf(t, o, "two").State} }
	waittest.Until(t, "one of the drains is unread", func() bool { return slices.Contains(states(), schema.DrainUnread) })
	for _, name := range []string{"one", "two"} {
		if d := stateOf(t, o, name); d.State == schema.DrainUnread && !strings.Contains(d.LastError, "maximum consumers") {
			t.Errorf("the last error of the unread drain is %q", d.LastError)
		}
	}
	limit(-1)
	op, shown := g.session(rand.New(rand.NewPCG(1, 1)), "web", 5_000, false)
	for _, sink := range sinks {
		waittest.Until(t, "the drain has the session", func() bool { return sink.last(op) == schema.EventEnd })
		sink.check(t, op, shown)
	}
	waittest.Until(t, "both drains are delivering", func() bool {
		return !slices.ContainsFunc(states(), func(s string) bool { return s != schema.DrainDelivering })
	})
}
