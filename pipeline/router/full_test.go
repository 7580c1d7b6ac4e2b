package router

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// TestFullLogs: chunks wait on TTY while LOGS is full, and are delivered afterwards.
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

// TestFullDeadLetters: delivery waits while there is no space for a dead letter, and reports
// that. When other dead letters are discarded it resumes, and delivers every record once.
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
	o := &operate.Operator{Bus: b, Drains: g.drains}
	waittest.Until(t, "the drain says why it waits", func() bool {
		d := stateOf(t, o, "memory")
		return d.State == schema.DrainRetrying && strings.Contains(d.LastError, "no space")
	})
	for number := uint64(1); number <= 100; number++ {
		if err := b.DeleteDeadLetter(t.Context(), number); err != nil {
			t.Fatal(err)
		}
	}
	g.drain()
	waittest.Until(t, "the drain says that it goes on", func() bool { return stateOf(t, o, "memory").State == schema.DrainDelivering })
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
