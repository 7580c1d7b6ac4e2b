package router

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// bounded returns a rig whose streams have a maximum size.
func bounded(t *testing.T, maxBytes int64, partitions int) *rig {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Sync: time.Hour, Partitions: partitions, MaxBytes: maxBytes, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &rig{t: t, bus: b, key: testKey(t)}
}

func (g *rig) reclaimer() *reclaim.Reclaimer {
	return newReclaimer(g.bus, g.r.o.Metrics, g.r.o.Log, g.r.currentWorkers)
}

func (g *rig) usage(stream string) bus.Usage {
	g.t.Helper()
	u, err := g.bus.Usage(g.t.Context(), stream)
	if err != nil {
		g.t.Fatal(err)
	}
	return u
}

// TestReclaim fills streams with the output of sessions that end and of two that run. Undelivered
// segments stay. Delivered ones are removed, except for the last of the running sessions: these
// continue after a restart, and the drains have all of them in the end.
func TestReclaim(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) { testReclaim(t, partitions) })
	}
}

func testReclaim(t *testing.T, partitions int) {
	const limit = 8 << 20
	g := bounded(t, limit, partitions)
	up := g.memoryDrain("up", nil)
	var refuses atomic.Bool
	refuses.Store(true)
	down := g.memoryDrain("down", func([]sinks.Entry) error {
		if refuses.Load() {
			return &sinks.Error{Verdict: sinks.Retry, Reason: "down", Err: errors.New("down")}
		}
		return nil
	})
	g.memoryDrain("of another app", nil, drain.Match{App: "api"})
	g.start()
	defer func() { g.stop() }()
	text := strings.Repeat("x", 32<<10)
	shown := make(map[*conversation][]string)
	say := func(c *conversation, lines ...string) {
		c.say(lines...)
		shown[c] = append(shown[c], lines...)
	}
	idle, busy := g.converse("web"), g.converse("web")
	say(idle, "at the beginning")
	var all []*conversation
	fill := func(want int) {
		t.Helper()
		for n := 0; n < want; n += 4 * len(text) {
			c := g.converse("web")
			say(c, text, text, text)
			c.end()
			say(busy, text)
			all = append(all, c)
		}
	}
	fill(limit - limit/8) // nearly full
	ended := func(s *memorySink) func() bool {
		return func() bool {
			return !slices.ContainsFunc(all, func(c *conversation) bool { return s.last(c.op) != schema.EventEnd })
		}
	}
	waittest.Until(t, "the drain that is up has the sessions that end", ended(up))
	waittest.Until(t, "what is enriched is removed from TTY", func() bool { return !g.usage(schema.StreamTTY).Scarce() })
	waittest.Until(t, "LOGS is nearly full", func() bool { return g.usage(schema.StreamLogs).Scarce() })
	for range 3 {
		if wait, err := g.reclaimer().Reclaim(t.Context()); err != nil || wait != reclaim.RetryInterval {
			t.Fatalf("LOGS, of which a drain has nothing: %v, %v", wait, err)
		}
	}
	if u := g.usage(schema.StreamLogs); u.First != 1 || !u.Scarce() {
		t.Fatalf("LOGS, of which a drain has nothing, has %+v", u)
	}
	refuses.Store(false)
	waittest.Until(t, "what is delivered is removed from LOGS", func() bool { return !g.usage(schema.StreamLogs).Scarce() })
	// Removal ends when the stream has space, perhaps before the drain has everything. The rest can
	// be removed too.
	waittest.Until(t, "the drain that was down has the sessions that end", ended(down))
	waittest.Until(t, "the rest of what is delivered can be removed from LOGS", func() bool {
		u := g.usage(schema.StreamLogs)
		if u.Bytes <= limit-3*limit/8 {
			return true
		}
		if _, err := g.reclaimer().Remove(t.Context(), u.Bytes-(limit-3*limit/8), u); err != nil {
			t.Fatal(err)
		}
		return false
	})
	for range 16 { // many times what fits
		waittest.Until(t, "there is room", func() bool { return g.usage(schema.StreamTTY).Bytes < limit*3/4 })
		fill(limit / 8)
		last := all[len(all)-1]
		for _, s := range []*memorySink{up, down} {
			waittest.Until(t, "the drain has it all", func() bool { return s.last(last.op) == schema.EventEnd })
		}
	}
	g.drain()
	g.stop()
	g.start()
	for _, c := range []*conversation{idle, busy} {
		say(c, "at the end")
		c.end()
		all = append(all, c)
	}
	for _, s := range []*memorySink{up, down} {
		for _, c := range all {
			waittest.Until(t, "the drain has the session "+c.op.ID, func() bool { return s.last(c.op) == schema.EventEnd })
			s.check(t, c.op, []byte(strings.Join(shown[c], "\r\n")+"\r\n"))
		}
	}
}

// TestReclaimKeepsNeededSegments holds that segments stay if the stream has space, if a drain
// is to be rewound to them, and without any drain.
func TestReclaimKeepsNeededSegments(t *testing.T) {
	const limit = 4 << 20
	g := bounded(t, limit, 1)
	sink := g.memoryDrain("all", nil)
	g.start()
	c := g.converse("web")
	c.say(strings.Repeat("x", 60<<10))
	c.end()
	waittest.Until(t, "the drain has it", func() bool { return sink.last(c.op) == schema.EventEnd })
	g.drain()
	if wait, err := g.reclaimer().Reclaim(t.Context()); err != nil || wait == reclaim.RetryInterval {
		t.Errorf("LOGS with room: %v, %v", wait, err)
	}
	end := g.usage(schema.StreamLogs).Last
	needed := func(want uint64) {
		t.Helper()
		if first, err := firstUndelivered(t.Context(), g.bus, g.r.currentWorkers(), 0, end); err != nil || first != want {
			t.Errorf("message %d is needed first, %v; expected %d of %d", first, err, want, end)
		}
	}
	waittest.Until(t, "the position is kept", func() bool {
		first, err := firstUndelivered(t.Context(), g.bus, g.r.currentWorkers(), 0, end)
		return err == nil && first == end+1
	})
	g.stop()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	if err := o.RewindToTime(t.Context(), "all", time.Now().Add(-time.Hour), false); err != nil {
		t.Fatal(err)
	}
	needed(1)
	var err error
	if g.r, err = New(Options{Bus: g.bus, Metrics: g.r.o.Metrics, Log: g.r.o.Log}); err != nil {
		t.Fatal(err)
	}
	needed(1)
}
