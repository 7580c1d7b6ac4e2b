package router

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

func (s *memorySink) count(op *schema.Operation) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got[op.ID])
}

// stateOf returns the status of a drain.
func stateOf(t testing.TB, o *operate.Operator, name string) operate.DrainStatus {
	t.Helper()
	list, err := o.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("drain %s is not in the list", name)
	return operate.DrainStatus{}
}

func TestPauseAndResume(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 2), key: testKey(t)}
	defer g.bus.Close()
	paused, other := g.memoryDrain("paused", nil), g.memoryDrain("other", nil)
	g.start()
	g.waitWorking()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	if err := o.Pause(t.Context(), "paused", true); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the drain is paused", func() bool { return stateOf(t, o, "paused").State == schema.DrainPaused })
	g.stop() // a pause outlasts a restart
	g.start()
	defer func() { g.stop() }()
	rng := rand.New(rand.NewPCG(5, 5))
	op, shown := g.session(rng, "web", 10_000, false)
	waittest.Until(t, "the other drain has the session", func() bool {
		n := other.count(op)
		return n > 0 && other.last(op) == schema.EventEnd
	})
	other.check(t, op, shown)
	if n := paused.count(op); n != 0 {
		t.Fatalf("the paused drain got %d records", n)
	}
	if err := o.Pause(t.Context(), "paused", false); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the drain has caught up", func() bool { return paused.last(op) == schema.EventEnd })
	paused.check(t, op, shown)
}

func (s *memorySink) last(op *schema.Operation) schema.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.got[op.ID]); n > 0 {
		return s.got[op.ID][n-1].Event
	}
	return schema.EventStart
}

func TestRewind(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	sink := g.memoryDrain("all", nil)
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	rng := rand.New(rand.NewPCG(6, 6))
	first, shownFirst := g.session(rng, "web", 5_000, false)
	g.drain()
	between := time.Now()
	second, shownSecond := g.session(rng, "web", 5_000, false)
	g.drain()
	records := func() (int, int) { return sink.count(first), sink.count(second) }
	one, two := records()
	for _, step := range []struct {
		name        string
		rewind      func() error
		first, rest int // copies of the sessions afterwards
	}{
		{"to an operation", func() error { return o.RewindToOperation(t.Context(), "all", second.ID, false) }, 1, 2},
		{"to a time", func() error { return o.RewindToTime(t.Context(), "all", between, false) }, 1, 3},
		{"to the beginning", func() error { return o.RewindToTime(t.Context(), "all", between.Add(-time.Hour), false) }, 2, 4},
		{"to the future", func() error { return o.RewindToTime(t.Context(), "all", time.Now().Add(time.Hour), false) }, 2, 4},
	} {
		if err := step.rewind(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		waittest.Until(t, "the drain got it again: "+step.name, func() bool {
			a, b := records()
			return a == step.first*one && b == step.rest*two
		})
	}
	sink.check(t, first, shownFirst)
	sink.check(t, second, shownSecond)
	if err := o.RewindToOperation(t.Context(), "all", "999999", false); !errors.Is(err, operate.ErrNotFound) {
		t.Errorf("an operation that is not there: %v", err)
	}
	if err := o.RewindToTime(t.Context(), "nope", between, false); !errors.Is(err, operate.ErrUnknownDrain) || !strings.Contains(err.Error(), "all") {
		t.Errorf("a drain that is not there: %v", err)
	}
}

func TestDeadLetters(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	refusing := true
	sink := g.memoryDrain("strict", func(batch []sinks.Entry) error {
		for _, e := range batch {
			if n := e.Record.Sequence; refusing && (n == 3 || n == 5) {
				return &sinks.Error{Verdict: sinks.Rejected, Status: 422, Reason: "malformed"}
			}
		}
		return nil
	})
	g.drains[0].PHI = true
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	op, shown := g.session(rand.New(rand.NewPCG(7, 7)), "clinic", 10_000, false)
	g.drain()
	letters, err := o.DeadLetters(t.Context(), operate.LetterFilter{Drain: "strict"}, 100)
	if err != nil || len(letters) != 2 || letters[0].Sequence != 3 || letters[1].Sequence != 5 || letters[0].Status != 422 || letters[0].Operation != op.ID {
		t.Fatalf("the dead letters are %+v, %v", letters, err)
	}
	if n := stateOf(t, o, "strict").DeadLetters; n != 2 {
		t.Errorf("the list counts %d dead letters", n)
	}
	if others, err := o.DeadLetters(t.Context(), operate.LetterFilter{Drain: "another"}, 100); err != nil || len(others) != 0 {
		t.Errorf("another drain has %v, %v", others, err)
	}
	_, record, err := o.DeadLetter(t.Context(), letters[0].Number)
	if err != nil || !bytes.Contains(record, []byte(`"sequence":3`)) {
		t.Errorf("the letter's record is %s, %v", record, err)
	}
	if err := o.Redeliver(t.Context(), letters[0].Number); err == nil {
		t.Error("a record that the drain refuses again counts as delivered")
	}
	sink.mu.Lock()
	refusing = false
	sink.mu.Unlock()
	ended := slices.Clone(g.drains)
	ended[0].PHI = false // the agreement has ended meanwhile
	o.Update(ended)
	if err := o.Redeliver(t.Context(), letters[0].Number); !errors.Is(err, operate.ErrNoAgreement) || !strings.Contains(err.Error(), "agreements: [baa]") {
		t.Errorf("without the agreement: %v", err)
	}
	o.Update(g.drains)
	if err := o.Redeliver(t.Context(), letters[0].Number); err != nil {
		t.Fatal(err)
	}
	if err := o.Discard(t.Context(), letters[1].Number); err != nil {
		t.Fatal(err)
	}
	if err := o.Discard(t.Context(), letters[1].Number); !errors.Is(err, operate.ErrNotFound) {
		t.Errorf("discarded twice: %v", err)
	}
	if left, err := o.DeadLetters(t.Context(), operate.LetterFilter{Drain: ""}, 100); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	log := make(map[uint64][]byte)
	for _, r := range sink.got[op.ID] {
		log[r.Sequence] = r.Log
	}
	if _, there := log[5]; there || !bytes.Contains(shown, log[3]) || len(log[3]) == 0 {
		t.Errorf("record 3 is %q, and record 5 is there: %t", log[3], there)
	}
}

func TestDrainTest(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	down := false
	sink := g.memoryDrain("all", func([]sinks.Entry) error {
		if down {
			return &sinks.Error{Verdict: sinks.Misconfigured, Status: 403, Reason: "the key may not write there"}
		}
		return nil
	})
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	report, err := o.Test(t.Context(), "all", "ada\x1b[2J at laptop")
	if err != nil {
		t.Fatal(err)
	}
	got := sink.got[report.Operation]
	if !report.OK || !schema.IsTest(report.Operation) || len(got) != 1 || got[0].Event != schema.EventOutput ||
		string(got[0].Text) != "This is a test of the drain all by ttydrain, and of no session. It was asked for by ada[2J at laptop." {
		t.Fatalf("the drain got %+v; %+v", got, report)
	}
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "no agreements") {
		t.Errorf("notes of a drain without agreements: %q", report.Notes)
	}
	if err := o.Pause(t.Context(), "all", true); err != nil {
		t.Fatal(err)
	}
	if report, err = o.Test(t.Context(), "all", ""); err != nil || !report.OK || !strings.Contains(report.Notes[0], "is paused") ||
		!strings.HasSuffix(string(sink.got[report.Operation][0].Text), "asked for by an operator.") {
		t.Errorf("a drain that is paused: %+v, %v", report, err)
	}
	if err := o.Pause(t.Context(), "all", false); err != nil {
		t.Fatal(err)
	}
	down = true
	report, err = o.Test(t.Context(), "all", "")
	if err != nil {
		t.Fatal(err)
	}
	if last := report.Steps[len(report.Steps)-1]; report.OK || last.Result != probe.ResultFailed || !strings.Contains(last.Problem, "may not write") {
		t.Errorf("a drain that refuses: %+v", report)
	}
	g.drains[0].Open = func() (sinks.Sink, error) { return nil, errors.New("ca_file /ca.pem does not exist") }
	report, err = o.Test(t.Context(), "all", "")
	if err != nil {
		t.Fatal(err)
	}
	if first := report.Steps[0]; report.OK || first.Name != probe.Settings || !strings.Contains(first.Problem, "/ca.pem") || len(report.Steps) != 6 {
		t.Errorf("a drain whose settings are wrong: %+v", report)
	}
	if _, err := o.Test(t.Context(), "absent", ""); !errors.Is(err, operate.ErrUnknownDrain) {
		t.Errorf("a drain that is not there: %v", err)
	}
	if state := stateOf(t, o, "all").State; state != operate.Unattended {
		t.Errorf("a drain that nobody works for is %q", state)
	}
}
