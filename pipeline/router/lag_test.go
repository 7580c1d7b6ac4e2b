package router

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestLag: the records that a drain lacks are counted exactly, whatever the reason.
func TestLag(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			t.Parallel()
			g := &rig{t: t, bus: openBus(t, t.TempDir(), partitions), key: testKey(t)}
			defer g.bus.Close()
			var down atomic.Bool
			whole := g.memoryDrain("whole", nil)
			g.drains[0].PHI = true
			g.memoryDrain("dead", refuse(&down))
			g.memoryDrain("paused", nil)
			g.memoryDrain("some", refuse(&down), drain.Match{App: "web"})
			g.drains[1].BatchRecords = 5 // a small part of them
			g.start()
			defer func() { g.stop() }()
			o := &operate.Operator{Bus: g.bus, Drains: g.drains}
			rng := rand.New(rand.NewPCG(11, uint64(partitions)))
			g.session(rng, "web", 2_000, false)
			g.drain()
			for _, name := range []string{"whole", "dead", "paused", "some"} {
				waittest.Until(t, name+" is not behind", func() bool {
					d := stateOf(t, o, name)
					return d.LagRecords == 0 && d.LagSegments == 0 && d.LagSeconds == 0 && !d.LagAtLeast
				})
			}
			down.Store(true)
			if err := o.Pause(t.Context(), "paused", true); err != nil {
				t.Fatal(err)
			}
			for _, w := range g.r.workers {
				waittest.Until(t, "the drain is paused", func() bool { return w.target.drain.Name != "paused" || w.suspended.Load() })
			}
			started := time.Now()
			// More segments than a worker reads ahead.
			var web, others, clinic uint64
			for i := range 60 {
				app := []string{"web", "db", "clinic"}[i%3]
				op, _ := g.session(rng, app, 500, false)
				waittest.Until(t, "it arrives", func() bool { return whole.last(op) == schema.EventEnd })
				n := uint64(whole.count(op))
				switch app {
				case "web":
					web += n
				case "db":
					others += n
				default:
					clinic += n
				}
			}
			lags := map[string]uint64{"whole": 0, "dead": web + others, "paused": web + others, "some": web}
			mustLag := func(when string) {
				t.Helper()
				for name, want := range lags {
					var d operate.DrainStatus
					ok := false
					for deadline := time.Now().Add(time.Minute); !ok && time.Now().Before(deadline); {
						d = stateOf(t, o, name)
						ok = d.LagRecords == want && !d.LagAtLeast && (d.LagSegments > 0) == (want > 0) && (d.LagSeconds > 0) == (want > 0)
					}
					if !ok || d.LagSeconds > time.Since(started).Seconds()+1 {
						t.Errorf("%s: the drain %s is %d records (at least: %t) in %d segments behind, and %g seconds; want %d",
							when, name, d.LagRecords, d.LagAtLeast, d.LagSegments, d.LagSeconds, want)
					}
				}
			}
			if clinic == 0 {
				t.Fatal("there is nothing that a drain without the agreement does not get")
			}
			mustLag("at work")
			if n := g.counted(g.r.o.Metrics.lagRecords, "dead"); n != float64(web+others) {
				t.Errorf("the metric says %g", n)
			}
			if n := g.counted(g.r.o.Metrics.lagSeconds, "dead"); n <= 0 {
				t.Errorf("the metric says %g seconds", n)
			}
			g.stop()
			for _, d := range g.drains {
				var records uint64
				for partition := range partitions {
					l, err := d.Lag(t.Context(), g.bus, partition, time.Now().Add(time.Minute))
					if err != nil || l.AtLeast || (l.Records > 0) != (l.Seconds(time.Now()) > 0) || (l.Records > 0) != (l.Segments > 0) && d.Name != "whole" {
						t.Errorf("unattended, the drain %s is behind by %+v, %v", d.Name, l, err)
					}
					records += l.Records
				}
				if records != lags[d.Name] {
					t.Errorf("unattended, the drain %s is %d records behind, want %d", d.Name, records, lags[d.Name])
				}
			}
			g.start()
			mustLag("after a restart")
			down.Store(false)
			if err := o.Pause(t.Context(), "paused", false); err != nil {
				t.Fatal(err)
			}
			lags = map[string]uint64{"whole": 0, "dead": 0, "paused": 0, "some": 0}
			mustLag("after all came back")
		})
	}
}

// TestLagWithoutQuota: segments are counted while the worker has no quota to read them, also if
// everything was read before.
func TestLagWithoutQuota(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	whole := g.memoryDrain("whole", nil)
	full := g.memoryDrain("full", nil)
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	record := func() *schema.Operation { return g.recordUntil(whole) }
	first := record()
	waittest.Until(t, "the drain has it", func() bool { return full.last(first) == schema.EventEnd })
	waittest.Until(t, "its room is free", func() bool { w := g.r.workers[1]; return w.deliverer.quota.memory.TryAcquire(w.deliverer.quota.bytes) })
	want := uint64(0)
	for range 3 {
		want += uint64(whole.count(record()))
		waittest.Until(t, "all is counted", func() bool {
			d := stateOf(t, o, "full")
			return d.LagRecords == want && !d.LagAtLeast && d.LagSeconds > 0
		})
	}
	g.r.workers[1].deliverer.quota.memory.Release(g.r.workers[1].deliverer.quota.bytes)
	waittest.Until(t, "nothing is left", func() bool { d := stateOf(t, o, "full"); return d.LagRecords == 0 && d.LagSegments == 0 })
}

// BenchmarkCountHeads measures the counting of records by their segments' headers.
func BenchmarkCountHeads(b *testing.B) {
	g := &rig{t: b, bus: openBus(b, b.TempDir(), 1), key: testKey(b)}
	defer g.bus.Close()
	const segments = 20_000
	data := make([]byte, 2_000)
	for i := range segments {
		_, err := g.bus.PublishSegment(fmt.Sprintf("logs.0.default.web.%d", i), 0, 10, false, data).Wait(b.Context())
		if err != nil {
			b.Fatal(err)
		}
	}
	filters := []string{schema.FilterLogs(0, "", "")}
	b.ResetTimer()
	for b.Loop() {
		t := drain.NewTally(false, 0)
		if err := drain.CountHeads(b.Context(), g.bus, filters, 0, func(m bus.Message) bool { t.Count(m); return true }); err != nil {
			b.Fatal(err)
		}
		if l := t.Lag(); l.Records != 10*segments || l.Segments != segments {
			b.Fatalf("counted %+v", l)
		}
	}
	b.ReportMetric(float64(b.N)*segments/b.Elapsed().Seconds(), "segments/s")
}
