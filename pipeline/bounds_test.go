package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// TestHeldChunksAreBounded: of the chunks behind one that never comes, memory keeps some megabytes,
// and then there is a gap in its place.
func TestHeldChunksAreBounded(t *testing.T) {
	key := testKey(t)
	b := openBus(t, t.TempDir(), 1)
	defer b.Close()
	user, err := document(key)(schema.User{ID: "u-1"})
	if err != nil {
		t.Fatal(err)
	}
	op := &schema.Operation{ID: "1", App: "web", Stack: "default", User: schema.User{ID: "u-1"}, UserDocument: user}
	start, err := schema.StartFrame(time.Now(), op)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	gaps := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "ttydrain_gaps_total" {
				return f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return -1
	}
	p := &enriching{
		o:          EnricherOptions{Bus: b, Signer: key, Document: document(key), Metrics: metrics, Log: slog.New(slog.DiscardHandler)},
		operations: make(map[string]*operation), published: make(chan published, 64), log: slog.New(slog.DiscardHandler),
	}
	add := func(c schema.Chunk) {
		m := bus.Message{Subject: schema.SubjectTTY(op, 1), Sequence: c.Ordinal + 1, Data: schema.AppendChunk(nil, &c)}
		if err := p.enrich(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	add(schema.Chunk{Frames: []schema.Frame{start}})
	// Chunk 1 is missing, of a byte.
	chunk := schema.Chunk{Ordinal: 2, Events: 1}
	chunk.Offset[0] = 1
	payload := bytes.Repeat([]byte("a line of text\n"), 8<<10)
	chunk.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: time.Now().UnixNano(), Payload: payload}}
	for sent := 0; sent < 2*maxHeld; chunk.Ordinal++ {
		add(chunk)
		chunk.Offset[0] += uint64(len(payload))
		sent += len(payload)
		held := 0
		for _, h := range p.operations[schema.SubjectTTY(op, 1)].held {
			held += len(h.Data)
		}
		if held > maxHeld+len(payload) || (held == 0) != (gaps() == 1) {
			t.Fatalf("of %d bytes, %d are held, with %v gaps", sent, held, gaps())
		}
	}
	if n := gaps(); n != 1 {
		t.Errorf("%v gaps", n)
	}
}

// TestOperationsAreBounded: of operations that show nothing, only so many are kept in memory.
func TestOperationsAreBounded(t *testing.T) {
	key := testKey(t)
	b := openBus(t, t.TempDir(), 1)
	defer b.Close()
	lease, err := b.Acquire(t.Context(), "enrich.0")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	user, err := document(key)(schema.User{ID: "u-1"})
	if err != nil {
		t.Fatal(err)
	}
	p := &enriching{operations: make(map[string]*operation), lease: lease}
	for i := range maxOperations + 100 {
		transcript, err := enrich.New(&schema.Operation{ID: strconv.Itoa(i), UserDocument: user}, key, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p.operations[strconv.Itoa(i)] = &operation{transcript: transcript, touched: time.Now()}
	}
	if err := p.tick(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := len(p.operations); n != maxOperations {
		t.Errorf("%d operations are kept", n)
	}
}

// TestFullLogs: what LOGS has no room for waits on TTY, and is delivered when there is room.
func TestFullLogs(t *testing.T) {
	dir := t.TempDir()
	openFor := func(bytes int64) *bus.Bus {
		b, err := bus.Open(t.Context(), bus.Options{Store: dir, Sync: time.Hour, MaxBytes: bytes})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	g := &rig{t: t, bus: openFor(1 << 20), key: testKey(t)}
	sink := g.memoryDrain("memory", nil)
	var err error
	for _, size := range []int{64 << 10, 1 << 10, 16} {
		for i := 0; err == nil; i++ {
			_, err = g.bus.PublishSegment(fmt.Sprintf("logs.0.default.web.none-%d-%d", size, i), 0, 1, false, make([]byte, size)).Wait(t.Context())
		}
		if !errors.Is(err, bus.ErrFull) {
			t.Fatal(err)
		}
		err = nil
	}
	rng := rand.New(rand.NewPCG(3, 4))
	type shown struct {
		op    *schema.Operation
		bytes []byte
	}
	var sessions []shown
	end, err := g.bus.End(t.Context(), schema.StreamLogs)
	if err != nil {
		t.Fatal(err)
	}
	g.start()
	g.waitWorking()
	for range 3 {
		op, bytes := g.session(rng, "web", 20_000, true)
		sessions = append(sessions, shown{op, bytes})
	}
	if now, err := g.bus.End(t.Context(), schema.StreamLogs); err != nil || now != end {
		t.Errorf("the full stream has grown from %d to %d, %v", end, now, err)
	}
	g.stop()
	g.bus.Close()
	g.bus = openFor(64 << 20)
	g.start()
	defer g.stop()
	g.drain()
	for _, s := range sessions {
		sink.check(t, s.op, s.bytes)
	}
}

// TestFullDeadLetters: a drain waits with a record for which there is no room among the dead
// letters, and says so. When others are discarded it goes on, and has every record once.
func TestFullDeadLetters(t *testing.T) {
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Sync: time.Hour, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for i := uint64(1); err == nil; i++ {
		err = b.PublishDeadLetter(t.Context(), &schema.DeadLetter{Drain: "another", Operation: "0", Sequence: i})
	}
	if !errors.Is(err, bus.ErrFull) {
		t.Fatal(err)
	}
	g := &rig{t: t, bus: b, key: testKey(t)}
	sink := g.memoryDrain("memory", func(batch []sinks.Entry) error {
		for i, e := range batch {
			if e.Record.Sequence == 7 {
				return &sinks.Error{Verdict: sinks.Retry, Items: []sinks.Item{{Index: i, Verdict: sinks.Rejected, Status: 400, Reason: "malformed"}}}
			}
		}
		return nil
	})
	op, _ := g.session(rand.New(rand.NewPCG(5, 6)), "web", 10_000, false)
	g.start()
	defer g.stop()
	o := &Operator{Bus: b, Drains: g.drains}
	eventually(t, "the drain says why it waits", func() bool {
		d := o.stateOf(t, "memory")
		return d.State == schema.DrainRetrying && strings.Contains(d.LastError, "no room")
	})
	for number := uint64(1); number <= 100; number++ {
		if err := b.DeleteDeadLetter(t.Context(), number); err != nil {
			t.Fatal(err)
		}
	}
	g.drain()
	eventually(t, "the drain says that it goes on", func() bool { return o.stateOf(t, "memory").State == schema.DrainDelivering })
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for i, r := range sink.got[op.ID] {
		if want := uint64(i + 1); r.Sequence != want && r.Sequence != want+1 || r.Sequence == 7 {
			t.Fatalf("record %d is the one numbered %d", i, r.Sequence)
		}
	}
	if m, ok, err := b.Last(t.Context(), schema.StreamDeadLetter, schema.SubjectDeadLetter(&schema.DeadLetter{Drain: "memory", Operation: op.ID, Sequence: 7})); err != nil || !ok || !bytes.Contains(m.Data, []byte(`"sequence":7`)) {
		t.Errorf("%s, %t, %v", m.Data, ok, err)
	}
}
