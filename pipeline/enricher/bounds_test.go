package enricher

import (
	"bytes"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// TestPendingChunksAreBounded: some megabytes of out-of-order chunks are kept in memory, and then
// a gap replaces the missing chunk.
func TestPendingChunksAreBounded(t *testing.T) {
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
	p := &partition{
		o:          Options{Bus: b, Signer: key, Document: document(key), Metrics: metrics, Log: slog.New(slog.DiscardHandler)},
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
	for sent := 0; sent < 2*maxPending; chunk.Ordinal++ {
		add(chunk)
		chunk.Offset[0] += uint64(len(payload))
		sent += len(payload)
		held := 0
		for _, h := range p.operations[schema.SubjectTTY(op, 1)].pending {
			held += len(h.Data)
		}
		if held > maxPending+len(payload) || (held == 0) != (gaps() == 1) {
			t.Fatalf("of %d bytes, %d are held, with %v gaps", sent, held, gaps())
		}
	}
	if n := gaps(); n != 1 {
		t.Errorf("%v gaps", n)
	}
}

// TestOperationsAreBounded: only a limited number of idle operations is kept in memory.
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
	p := &partition{operations: make(map[string]*operation), lease: lease}
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
