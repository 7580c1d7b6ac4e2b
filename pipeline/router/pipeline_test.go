package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// memorySink keeps what it is given, and fails as it is told.
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

// rig is a bus, an enricher and a router with sinks in memory.
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
	if g.r, err = New(Options{Bus: g.bus, Drains: g.drains, Metrics: NewMetrics(g.registry), Log: log, Margin: g.margin}); err != nil {
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

// session publishes a session's chunks and returns what it showed.
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

// check says that a sink has exactly what was shown, in order; repeats of a record are allowed
// where they are the same.
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

func TestPipelineDeliversWhatWasShown(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			g := &rig{t: t, bus: openBus(t, t.TempDir(), partitions), key: testKey(t)}
			defer g.bus.Close()
			all := g.memoryDrain("all", nil)
			web := g.memoryDrain("web", nil, drain.Match{App: "web"})
			g.start()
			defer func() { g.stop() }()
			rng := rand.New(rand.NewPCG(1, uint64(partitions)))
			type session struct {
				op    *schema.Operation
				shown []byte
			}
			var sessions []session
			for i := range 12 {
				op, shown := g.session(rng, []string{"web", "db"}[i%2], 20_000, i%3 == 0)
				sessions = append(sessions, session{op, shown})
				if i == 6 { // a restart in the middle
					g.stop()
					g.start()
				}
			}
			g.drain()
			for _, s := range sessions {
				all.check(t, s.op, s.shown)
				if s.op.App == "web" {
					web.check(t, s.op, s.shown)
				} else if len(web.got[s.op.ID]) > 0 {
					t.Fatal("the drain got an app that it does not match")
				}
			}
		})
	}
}

func TestAnotherTakesOver(t *testing.T) {
	first := &rig{t: t, bus: openBus(t, t.TempDir(), 2), key: testKey(t)}
	defer first.bus.Close()
	all := first.memoryDrain("all", nil)
	second := &rig{t: t, bus: first.bus, key: first.key, drains: first.drains}
	first.start()
	first.waitWorking()
	second.start()
	rng := rand.New(rand.NewPCG(4, 4))
	before, shownBefore := first.session(rng, "web", 20_000, false)
	first.drain()
	all.check(t, before, shownBefore)
	during, shownDuring := first.session(rng, "web", 20_000, true)
	first.stop()
	after, shownAfter := second.session(rng, "web", 20_000, false)
	second.waitWorking()
	second.drain()
	second.stop()
	all.check(t, before, shownBefore)
	all.check(t, during, shownDuring)
	all.check(t, after, shownAfter)
}

// enriching returns in how many partitions the rig's enricher works.
func (g *rig) enriching() int {
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

// waitWorking waits until all of the rig's work is its own.
func (g *rig) waitWorking() {
	g.t.Helper()
	for {
		working := g.enriching() == g.bus.Partitions()
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

func TestHealthInformationStaysWithThoseWhoAgreed(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	agreed, other := g.memoryDrain("agreed", nil), g.memoryDrain("other", nil)
	g.drains[0].PHI = true
	g.start()
	defer func() { g.stop() }()
	rng := rand.New(rand.NewPCG(8, 8))
	clinic, shownClinic := g.session(rng, "clinic", 5_000, false)
	web, shownWeb := g.session(rng, "web", 5_000, false)
	// Each segment says for itself what it may hold: this one's message has no header that says it,
	// and the subject of an app without.
	byHand := *clinic
	byHand.App, byHand.ID = "web", "999"
	text, err := json.Marshal(&byHand)
	if err != nil {
		t.Fatal(err)
	}
	data, err := schema.AppendSegment(nil, text, &schema.Segment{Operation: &byHand,
		Records: []schema.Record{{Event: schema.EventOutput, Sequence: 1, Time: time.Now().UnixNano(), Log: []byte("by hand\n"), Text: []byte("by hand")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.bus.PublishSegment(schema.LogsOf(schema.SubjectTTY(&byHand, 1)), 0, 1, false, data).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.drain()
	if a, o := agreed.count(&byHand), other.count(&byHand); a != 1 || o != 0 {
		t.Errorf("of a segment that was published by hand, the drain with the agreement got %d records, the other %d", a, o)
	}
	agreed.check(t, clinic, shownClinic)
	agreed.check(t, web, shownWeb)
	other.check(t, web, shownWeb)
	if n := other.count(clinic); n != 0 {
		t.Errorf("a drain without the agreement got %d records", n)
	}
}

func TestAFailingDrainHarmsOnlyItself(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 2), key: testKey(t)}
	defer g.bus.Close()
	good := g.memoryDrain("good", nil)
	down := true
	bad := g.memoryDrain("bad", func([]sinks.Entry) error {
		if down {
			return &sinks.Error{Verdict: sinks.Retry, Reason: "connection refused"}
		}
		return nil
	})
	g.start()
	defer func() { g.stop() }()
	op, shown := g.session(rand.New(rand.NewPCG(2, 2)), "web", 10_000, false)
	g.drain()
	good.check(t, op, shown)
	bad.mu.Lock()
	down = false
	bad.mu.Unlock()
	for {
		bad.mu.Lock()
		n := len(bad.got[op.ID])
		ended := n > 0 && bad.got[op.ID][n-1].Event == schema.EventEnd
		bad.mu.Unlock()
		if ended {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the drain did not catch up")
		}
	}
	bad.check(t, op, shown)
}

func TestARejectedRecordBecomesADeadLetterAlone(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	poisoned := func(e sinks.Entry) bool { return e.Record.Sequence == 7 }
	whole := g.memoryDrain("whole", func(batch []sinks.Entry) error {
		for _, e := range batch {
			if poisoned(e) {
				return &sinks.Error{Verdict: sinks.Rejected, Status: 400, Reason: "malformed"}
			}
		}
		return nil
	})
	items := g.memoryDrain("items", func(batch []sinks.Entry) error {
		var failed []sinks.Item
		for i, e := range batch {
			if poisoned(e) {
				failed = append(failed, sinks.Item{Index: i, Verdict: sinks.Rejected, Status: 400, Reason: "malformed"})
			}
		}
		if failed != nil {
			return &sinks.Error{Verdict: sinks.Retry, Items: failed}
		}
		return nil
	})
	g.start()
	defer func() { g.stop() }()
	op, _ := g.session(rand.New(rand.NewPCG(3, 3)), "web", 10_000, false)
	g.drain()
	for name, s := range map[string]*memorySink{"whole": whole, "items": items} {
		var sequences []uint64
		for _, r := range s.got[op.ID] {
			sequences = append(sequences, r.Sequence)
		}
		want := uint64(1)
		for _, n := range sequences {
			if want == 7 {
				want = 8
			}
			if n != want {
				t.Fatalf("%s: sequences %v", name, sequences)
			}
			want++
		}
		letter, ok, err := g.bus.Last(t.Context(), schema.StreamDeadLetter, schema.SubjectDeadLetter(&schema.DeadLetter{Drain: name, Operation: op.ID, Sequence: 7}))
		if err != nil || !ok || !bytes.Contains(letter.Data, []byte(`"sequence":7`)) {
			t.Fatalf("%s: dead letter %s, %v, %v", name, letter.Data, ok, err)
		}
	}
}

func TestTheEnricherReplacesALiveDocument(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	var documents []string
	sink := g.memoryDrain("all", nil)
	g.drains[0].Open = func() (sinks.Sink, error) { return documentSink{sink, &documents}, nil }
	g.start()
	defer func() { g.stop() }()
	live, err := g.key.Mint("https://auth.example.com", schema.User{ID: "u-1"}, time.Now().Add(48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := enrich.CheckDocument(live, time.Now()); !errors.Is(err, enrich.ErrLiveDocument) {
		t.Fatalf("the document that this test is about is not live: %v", err)
	}
	op := &schema.Operation{App: "web", Stack: "default", User: schema.User{ID: "u-1"}, UserDocument: live}
	if err := g.bus.CreateOperation(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	start, err := schema.StartFrame(time.Now(), op)
	if err != nil {
		t.Fatal(err)
	}
	chunk := schema.Chunk{Frames: []schema.Frame{start}}
	if _, err := g.bus.PublishChunk(schema.SubjectTTY(op, 1), op.ID, schema.AppendChunk(nil, &chunk)).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.drain()
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if len(documents) == 0 {
		t.Fatal("nothing was delivered")
	}
	for _, d := range documents {
		if err := enrich.CheckDocument(d, time.Now()); err != nil || d == live {
			t.Fatalf("a document was passed on: %v", err)
		}
	}
}

type documentSink struct {
	*memorySink
	documents *[]string
}

func (s documentSink) Write(ctx context.Context, batch []sinks.Entry) error {
	s.mu.Lock()
	for _, e := range batch {
		*s.documents = append(*s.documents, e.Operation.UserDocument)
	}
	s.mu.Unlock()
	return s.memorySink.Write(ctx, batch)
}

func testKey(t testing.TB) *enrich.Key {
	t.Helper()
	k, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
