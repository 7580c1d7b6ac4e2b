package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func TestRouterDeliversOutput(t *testing.T) {
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

func TestTakeover(t *testing.T) {
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

func TestHealthInformationNeedsAgreement(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	agreed, other := g.memoryDrain("agreed", nil), g.memoryDrain("other", nil)
	g.drains[0].PHI = true
	g.start()
	defer func() { g.stop() }()
	rng := rand.New(rand.NewPCG(8, 8))
	clinic, shownClinic := g.session(rng, "clinic", 5_000, false)
	web, shownWeb := g.session(rng, "web", 5_000, false)
	// The mark of the segment itself counts: the message of this one has no header, and the subject
	// of an app without protected health information.
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

func TestFailingDrainDelaysNoOther(t *testing.T) {
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

func TestRejectedRecordBecomesDeadLetter(t *testing.T) {
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

func TestEnricherReplacesLiveDocument(t *testing.T) {
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
