package router

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// A throttled handler reads the bodies of all requests together at a rate in bytes a second.
type throttled struct {
	http.Handler
	rate int

	mu sync.Mutex // held while a piece is read: one at a time
}

func (h *throttled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	piece := make([]byte, h.rate/20)
	for {
		h.mu.Lock()
		n, err := r.Body.Read(piece)
		time.Sleep(time.Duration(n) * time.Second / time.Duration(h.rate))
		h.mu.Unlock()
		body.Write(piece[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return // the client gave up
		}
	}
	r.Body = io.NopCloser(&body)
	h.Handler.ServeHTTP(w, r)
}

// TestSlowReceiver has a drain so slow that the pending batch takes several times the timeout of a
// request.
func TestSlowReceiver(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	r := newReceiver(t, func([]byte) int { return http.StatusOK })
	r.server.Config.Handler = &throttled{Handler: r.server.Config.Handler, rate: 100 << 10}
	d := r.drain("slow", https.NDJSON, time.Second)
	d.Writers = 1
	g.drains = []drain.Drain{d}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	if err := o.Pause(t.Context(), "slow", true); err != nil {
		t.Fatal(err)
	}
	g.memoryDrain("other", nil)
	g.start()
	defer func() { g.stop() }()
	s := g.converse("web")
	const lines = 300
	for n := range lines {
		s.say(fmt.Sprintf("line %d %s", n, strings.Repeat("x", 300)))
	}
	s.end()
	g.drain() // the other has everything, so that all of it waits for the slow one
	if err := o.Pause(t.Context(), "slow", false); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the session is delivered", func() bool { return r.ended(s.op) })
	seen := make(map[uint64]int)
	next := uint64(1)
	for _, one := range r.of(s.op) {
		if seen[one.Sequence]++; one.Sequence > next {
			t.Fatalf("record %d came where %d was due", one.Sequence, next)
		} else if one.Sequence == next {
			next++
		}
	}
	if n := len(seen); n < lines {
		t.Errorf("%d records", n)
	}
	for sequence, n := range seen {
		if n > 5 {
			t.Errorf("record %d was sent %d times", sequence, n)
		}
	}
}

// TestPartialProgress has a sink that confirms the first records of a batch before it times out, as
// with a slow drain: these are not written again, and the drain does not count as failing.
func TestPartialProgress(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	const atOnce = 3
	largest := 0
	sink := g.memoryDrain("slow", nil)
	sink.fail = func(batch []sinks.Entry) error {
		largest = len(batch)
		if len(batch) <= atOnce {
			return nil
		}
		e := &sinks.Error{Verdict: sinks.Retry, Reason: "no answer in time", Reached: true, TimedOut: len(batch)}
		for i := atOnce; i < len(batch); i++ {
			e.Items = append(e.Items, sinks.Item{Index: i, Verdict: sinks.Retry, Reason: e.Reason})
		}
		return e
	}
	op, shown := g.session(rand.New(rand.NewPCG(21, 21)), "web", 20_000, false)
	g.start()
	defer func() { g.stop() }()
	g.drain()
	sink.check(t, op, shown)
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for i, r := range sink.got[op.ID] {
		if r.Sequence != uint64(i+1) {
			t.Fatalf("record %d is the one numbered %d", i, r.Sequence)
		}
	}
	if n := g.counted(g.r.workers[0].target.series.retries, "slow"); n > 0 {
		t.Errorf("%v failures", n)
	}
	if largest > 20*atOnce {
		t.Errorf("the last batch has %d records, where the drain confirms %d in time", largest, atOnce)
	}
}

// TestPace has receivers of constant speed: writes approach a size that is finished in time, and
// are not limited for fast receivers.
func TestPace(t *testing.T) {
	entry := func(log int) sinks.Entry {
		return sinks.Entry{Record: &schema.Record{Log: make([]byte, log)}}
	}
	var entries []sinks.Entry
	for range 5000 {
		entries = append(entries, entry(100))
	}
	for _, rate := range []int{500, 5_000, 50 << 10, 1 << 20, 1 << 30} { // bytes a second
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(&drain.Drain{Timeout: 30 * time.Second, BatchBytes: 4 << 20})
				timeouts, late := 0, 0
				for n := range 60 {
					size := p.fit(entries)
					weight := weighAll(entries[:size])
					took := time.Duration(weight) * time.Second / time.Duration(rate)
					time.Sleep(min(took, p.timeout))
					if took > p.timeout {
						timeouts++
						if n > 20 {
							late++
						}
						p.timedOut(weight, 0)
						continue
					}
					p.accepted(weight, took, time.Now())
				}
				size := p.fit(entries)
				took := time.Duration(weighAll(entries[:size])) * time.Second / time.Duration(rate)
				if late > 0 || timeouts > 15 || took > p.timeout || size < len(entries) && took < p.timeout/16 && size > 1 {
					t.Errorf("%d timeouts, %d of them late; in the end %d records take %s", timeouts, late, size, took)
				}
			})
		})
	}
	t.Run("a limit of size", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPace(&drain.Drain{BatchBytes: 4 << 20})
			p.accepted(100<<10, 0, time.Now())
			p.tooLarge(60<<10, time.Now()) // more was accepted before: it was something else
			if n := p.fit(entries); n != len(entries) {
				t.Errorf("%d records", n)
			}
			p.tooLarge(1<<20, time.Now())
			for range 20 {
				if weight := weighAll(entries[:p.fit(entries)]); weight > 512<<10 {
					t.Fatalf("%d bytes", weight)
				}
				p.accepted(500<<10, time.Millisecond, time.Now())
			}
			time.Sleep(ceilingAge + time.Second)
			for range 5 {
				p.accepted(weighAll(entries[:p.fit(entries)]), time.Millisecond, time.Now())
			}
			if n := p.fit(entries); n != len(entries) {
				t.Errorf("%d records after a while", n)
			}
		})
	})
}
