package router

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func openBus(t testing.TB, dir string, partitions int) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: dir, Sync: time.Hour, Partitions: partitions, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A memorySink keeps all records, and fails with the result of fail.
type memorySink struct {
	mu   sync.Mutex
	got  map[string][]schema.Record // guarded by mu; by operation
	fail func(batch []sinks.Entry) error
}

func (s *memorySink) Write(_ context.Context, batch []sinks.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var skip map[int]bool
	var failure error
	if s.fail != nil {
		if failure = s.fail(batch); failure != nil {
			failed := sinks.AsError(failure)
			if len(failed.Items) == 0 {
				return failure
			}
			skip = make(map[int]bool)
			for _, item := range failed.Items {
				skip[item.Index] = true
			}
		}
	}
	for i, e := range batch {
		if skip[i] {
			continue
		}
		r := *e.Record
		r.Log, r.Text = bytes.Clone(r.Log), bytes.Clone(r.Text)
		s.got[e.Operation.ID] = append(s.got[e.Operation.ID], r)
	}
	return failure
}
func (s *memorySink) Probe(context.Context) error { return nil }
func (s *memorySink) Close() error                { return nil }

// A rig is a bus, an enricher and a router with sinks in memory.
type rig struct {
	t        testing.TB
	bus      *bus.Bus
	key      *enrich.Key
	stop     func()
	drains   []drain.Drain
	margin   time.Duration
	log      *slog.Logger // nil for the test's
	e        *enricher.Enricher
	registry *prometheus.Registry // of the metrics; by start
	r        *Router
}

func document(k *enrich.Key) func(schema.User) (string, error) {
	return func(u schema.User) (string, error) { return k.Mint("https://auth.example.com", u, time.Now()) }
}

func (g *rig) start() {
	g.t.Helper()
	g.registry = prometheus.NewRegistry()
	log := g.log
	if log == nil {
		log = slog.New(slog.NewTextHandler(g.t.Output(), nil))
	}
	g.e = enricher.New(enricher.Options{Bus: g.bus, Signer: g.key, Document: document(g.key), Metrics: enricher.NewMetrics(g.registry), Log: log})
	var err error
	if g.r, err = New(Options{Bus: g.bus, Drains: g.drains, Metrics: NewMetrics(g.registry), Log: log, Margin: g.margin, Sign: g.key.Sign}); err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.e.Run(ctx) })
	wg.Go(func() { g.r.Run(ctx) })
	g.stop = func() { cancel(); wg.Wait() }
}

func (g *rig) drain() {
	g.t.Helper()
	g.waitWorking()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	if err := g.e.Drain(ctx); err != nil {
		g.t.Fatal(err)
	}
	if err := g.r.Drain(ctx); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) memoryDrain(name string, fail func([]sinks.Entry) error, match ...drain.Match) *memorySink {
	s := &memorySink{got: make(map[string][]schema.Record), fail: fail}
	g.drains = append(g.drains, drain.Drain{Name: name, Open: func() (sinks.Sink, error) { return s, nil }, Match: match, Writers: 4, Alone: true, BatchRecords: 500, BatchBytes: 1 << 20})
	return s
}

// recordUntil records a short session, and returns its operation when a drain has its end.
func (g *rig) recordUntil(drain *memorySink) *schema.Operation {
	g.t.Helper()
	s := g.converse("web")
	s.say("one", "two")
	s.end()
	waittest.Until(g.t, "the end of the session at a drain", func() bool { return drain.last(s.op) == schema.EventEnd })
	return s.op
}

// session publishes the chunks of a session, and returns its output.
func (g *rig) session(rng *rand.Rand, app string, size int, disorder bool) (*schema.Operation, []byte) {
	g.t.Helper()
	doc, err := document(g.key)(schema.User{ID: "u-1", Name: "Ada", Email: "ada@example.com"})
	if err != nil {
		g.t.Fatal(err)
	}
	op := &schema.Operation{App: app, Stack: "default", User: schema.User{ID: "u-1"}, UserDocument: doc, PHI: app == "clinic"}
	if err := g.bus.CreateOperation(g.t.Context(), op); err != nil {
		g.t.Fatal(err)
	}
	start, err := schema.StartFrame(time.Now(), op)
	if err != nil {
		g.t.Fatal(err)
	}
	all := []schema.Chunk{{Frames: []schema.Frame{start}}}
	var shown []byte
	next := schema.Chunk{Ordinal: 1, Events: 1}
	for len(shown) < size {
		b := fmt.Appendf(nil, "line %d of %s \x1b[3%dmcolour\x1b[0m größe\r\n", len(shown), op.ID, rng.IntN(8))
		b = b[:1+rng.IntN(len(b))]
		next.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: time.Now().UnixNano(), Payload: b}}
		all = append(all, next)
		next.Ordinal++
		next.Offset[0] += uint64(len(b))
		shown = append(shown, b...)
	}
	end, err := schema.DetailFrame(schema.FrameEnd, time.Now(), &schema.Detail{Reason: "exit"})
	if err != nil {
		g.t.Fatal(err)
	}
	next.Frames = []schema.Frame{end}
	all = append(all, next)
	if disorder {
		for i := 2; i < len(all); i += 3 {
			all[i-1], all[i] = all[i], all[i-1]
		}
	}
	for i := range all {
		id := fmt.Sprintf("%s-%d", op.ID, all[i].Ordinal)
		if _, err := g.bus.PublishChunk(schema.SubjectTTY(op, g.bus.Partitions()), id, schema.AppendChunk(nil, &all[i])).Wait(g.t.Context()); err != nil {
			g.t.Fatal(err)
		}
	}
	return op, shown
}

// check fails the test unless a sink has exactly the output of a session, in order. Identical
// repeats of a record are allowed.
func (s *memorySink) check(t testing.TB, op *schema.Operation, shown []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var log []byte
	next := uint64(1)
	for _, r := range s.got[op.ID] {
		if r.Sequence < next {
			continue // a repeat
		}
		if r.Sequence != next {
			t.Fatalf("operation %s: record %d after %d", op.ID, r.Sequence, next-1)
		}
		next++
		log = append(log, r.Log...)
	}
	records := s.got[op.ID]
	if len(records) == 0 || records[len(records)-1].Event != schema.EventEnd {
		for _, r := range records {
			t.Logf("%d %s %d %q", r.Sequence, r.Event, r.Offset, r.Log)
		}
		t.Fatalf("operation %s: %d records, and no end", op.ID, len(records))
	}
	if !bytes.Equal(log, shown) {
		t.Fatalf("operation %s: %d bytes delivered, %d shown", op.ID, len(log), len(shown))
	}
}

// enricherPartitions returns in how many partitions the rig's enricher works.
func (g *rig) enricherPartitions() int {
	g.t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "ttydrain_enricher_partitions" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	g.t.Fatal("the metric of the enricher's partitions is missing")
	return 0
}

// waitWorking waits until the rig has the leases on all of its work.
func (g *rig) waitWorking() {
	g.t.Helper()
	for {
		working := g.enricherPartitions() == g.bus.Partitions()
		for _, w := range g.r.workers {
			working = working && w.leased.Load()
		}
		if working {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-g.t.Context().Done():
			g.t.Fatal("the work was not taken up")
		}
	}
}

func testKey(t testing.TB) *enrich.Key {
	t.Helper()
	k, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
