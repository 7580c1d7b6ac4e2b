package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// A fault is what is wrong with one drain.
type fault struct {
	drain *destination
	// impose begins it, at a drain that has delivered before.
	impose func()
	// during is what is done while sessions produce load; nil for nothing.
	during func(*server)
	// state and says are how the drain stands meanwhile: says is in its last error.
	state, says string
	// lift ends it; nil for one that does not end, and which the drain gets by with.
	lift func()
	// operate says that an operator pauses and resumes the drain when the fault is lifted. What
	// somebody has to repair is tried again after up to two minutes: this is how not to wait for it.
	operate bool
	// picky says that poison records become dead letters.
	picky bool
	// check looks at the end at what was special.
	check func()
	// once says that the drain has each record once, whatever happened.
	once bool
}

var outage = flag.Duration("outage", 5*time.Minute, "how long TestFaults has a drain answer every request with 500")

// mostLag is how many records of a steady session the good drain may be behind while others fail.
// It gets ten a second.
const mostLag = 100

const (
	// faultMark is in what sessions under load show, and in no message of ttydrain.
	faultMark = "of a session under load"
	// faultLines are those of each session, or more. One in a thousand is poison, the first of them
	// the 500th.
	faultLines = 1000
	// faultCommand shows as many lines as a line of its input says, again and again.
	faultCommand = `k=0; while read -r n; do for ((i = 0; i < n; i++)); do k=$((k + 1))
		if ((k % 1000 == 500)); then echo "poi""son $k ` + faultMark + `"; else echo "line $k ` + faultMark + `, größe"; fi; done; done`
)

// TestFaults has one drain for each way to fail, beside a good one. Most fail at once, while there
// are many sessions; one fails for five minutes. A steady session goes on all the time, in which
// the good drain may not fall behind.
func TestFaults(t *testing.T) {
	node := estest.Start(t, estest.Options{Security: true}) // first: what is absent is told before anything is started
	inbox := startTokenReceiver(t, "a-token")
	good := inbox.destination
	good.name = "good"
	good.entry = fmt.Sprintf(`{name: good, type: https, format: ndjson, url: "https://%s/logs", ca_file: %q, headers: {Authorization: Bearer a-token}}`, inbox.address, inbox.ca)
	rounds := [][]fault{
		slices.Concat(networkFaults(t), answerFaults(t), []fault{syslogFault(t), blockFault(t, node)}),
		{killFault(t, node)}, // by itself: its node is that of the drain blocked
	}
	long := longFault(t)
	drains := []*destination{good, long.drain}
	for _, f := range slices.Concat(rounds...) {
		drains = append(drains, f.drain)
	}
	v := newSite(t, withoutRaces, entries(drains)).serve()

	// Without faults all of them work.
	first := v.openFaultSession("echo before the faults")
	first.end(t)
	for _, d := range drains {
		mustBe(t, d.name, "a session before the faults", d.transcript(t, first.operation(t)).stdout, first.stdout.bytes())
	}
	began := time.Now()
	long.impose()
	steady := v.openSteadySession(inbox.inbox)
	t.Parallel() // what goes on meanwhile costs nearly nothing: the five minutes pass beside the tests before
	var sessions []*faultSession
	for _, faults := range rounds {
		sessions = append(sessions, v.fail(t, good, faults)...)
	}
	select {
	case <-time.After(time.Until(began.Add(*outage))):
	case <-t.Context().Done():
	}
	v.lift(t, long)
	sessions = append(sessions, steady.end(t))
	v.mustCatchUp(t, []fault{long}, sessions, 0)
	mustBe(t, good.name, "the steady session", good.transcript(t, steady.operation(t)).stdout, steady.stdout.bytes())
	v.mustBeUnharmed(t, good)
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	mustNotTell(t, "serve's log", v.log.String())
}

// fail has drains fail at once while there are sessions, which it gives: the good one has all of
// them while the faults last, each other tells what is wrong with it, and when that is over it
// catches up by itself.
func (v *server) fail(t *testing.T, good *destination, faults []fault) []*faultSession {
	for _, f := range faults {
		f.impose()
	}
	sessions, rejects := v.faultSessions(t, faults)
	for _, s := range sessions {
		mustBe(t, good.name, "a session while others fail", good.transcript(t, s.operation(t)).stdout, s.stdout.bytes())
	}
	v.mustBeUnharmed(t, good)
	for _, f := range faults {
		if f.lift != nil {
			v.lift(t, f)
		}
	}
	v.mustCatchUp(t, faults, sessions, rejects)
	return sessions
}

// mustBeUnharmed says that a drain has never had to try again.
func (v *server) mustBeUnharmed(t *testing.T, good *destination) {
	t.Helper()
	if s := v.drainStatus(good.name); s.State != schema.DrainDelivering || s.LastError != "" || v.counter("ttydrain_drain_retries_total", good.name) != 0 {
		t.Errorf("the good drain has had an error: %+v", s)
	}
}

// lift ends a fault when the drain has told of it.
func (v *server) lift(t *testing.T, f fault) {
	v.awaitStatus(f.drain, func(s operate.DrainStatus) bool { return s.State == f.state && strings.Contains(s.LastError, f.says) })
	if v.counter("ttydrain_drain_retries_total", f.drain.name) == 0 {
		t.Errorf("drain %s: no metric tells of a retry", f.drain.name)
	}
	f.lift()
	if f.operate {
		v.operate("drains", "pause", f.drain.name)
		v.operate("drains", "resume", f.drain.name)
	}
}

// mustCatchUp says that drains get all of the sessions now, but for the records that some of them
// reject.
func (v *server) mustCatchUp(t *testing.T, faults []fault, sessions []*faultSession, rejects int) {
	for _, f := range faults {
		t.Run(f.drain.name, func(t *testing.T) {
			v := v.in(t)
			for _, s := range sessions {
				f.drain.awaitEnds(t, s.operation(t))
			}
			v.awaitStatus(f.drain, func(s operate.DrainStatus) bool { return s.State == schema.DrainDelivering })
			letters := v.deadLetters(f.drain.name)
			if f.picky && len(letters) != rejects || !f.picky && len(letters) != 0 {
				t.Errorf("%d dead letters, of %d records that some drains refuse", len(letters), rejects)
			}
			arrived := f.drain.arrived(t, 0)
			mustBeInOrder(t, f, arrived, letters)
			for _, s := range sessions {
				whole := transcriptOf(t, f.drain.name, append(slices.Clip(arrived), letters...), s.operation(t), f.drain.exact)
				mustBe(t, f.drain.name, "a session", whole.stdout, s.stdout.bytes())
			}
			if f.check != nil {
				f.check()
			}
		})
	}
}

// faultSessions are sessions that have ended, and had shown lines all along what is to be done
// during them. rejects is how many of their lines are poison.
func (v *server) faultSessions(t *testing.T, faults []fault) (sessions []*faultSession, rejects int) {
	t.Helper()
	enough := make(chan struct{})
	var load sync.WaitGroup
	for range 3 {
		s := v.openFaultSession(faultCommand)
		sessions = append(sessions, s)
		load.Go(func() { s.load(enough) }) // ends with enough, or with the session
	}
	for _, f := range faults {
		if f.during != nil {
			f.during(v)
		}
	}
	close(enough)
	load.Wait()
	for _, s := range sessions {
		s.end(t)
		rejects += bytes.Count(s.stdout.bytes(), []byte("poison "))
	}
	if rejects < len(sessions) {
		t.Fatalf("%d records are poison, in %d sessions", rejects, len(sessions))
	}
	return sessions, rejects
}

// networkFaults are of what is between ttydrain and a drain.
func networkFaults(t *testing.T) []fault {
	make := func(name, settings, state, says string, impose, lift func(*wire)) fault {
		d := httpsDrain(t, name, ", format: ndjson"+settings)
		w := newWire(t, d)
		return fault{drain: d, state: state, says: says, impose: func() { impose(w) }, lift: func() { lift(w) }}
	}
	return []fault{
		make("refused", ", timeout: 10s", schema.DrainRetrying, "nothing listens there",
			func(w *wire) { w.proxy.Stop() }, func(w *wire) { w.connect() }),
		make("reset", ", timeout: 10s", schema.DrainRetrying, "the drain closed the connection before it had confirmed",
			func(w *wire) { w.poison("downstream", "reset_peer", `"timeout": 0`) }, func(w *wire) { w.heal("downstream") }),
		make("half-open", ", timeout: 10s", schema.DrainRetrying, "no answer in time",
			func(w *wire) {
				w.poison("upstream", "timeout", `"timeout": 0`)
				w.poison("downstream", "timeout", `"timeout": 0`)
			}, func(w *wire) { w.heal("upstream", "downstream") }),
		// It gets what is sent, and says nothing for the 30 seconds that a drain has for a write.
		make("silent", "", schema.DrainRetrying, "no answer in time",
			func(w *wire) { w.poison("downstream", "timeout", `"timeout": 0`) }, func(w *wire) { w.heal("downstream") }),
		make("slow", ", timeout: 10s", schema.DrainRetrying, "no answer in time", // a byte a second
			func(w *wire) {
				w.poison("upstream", "slicer", `"average_size": 1, "size_variation": 0, "delay": 1000000`)
			}, func(w *wire) { w.heal("upstream") }),
	}
}

// answerFaults are of what a drain shows and answers.
func answerFaults(t *testing.T) []fault {
	authority := sinktest.NewAuthority(t)
	make := func(name, settings string, make func(*gate) fault) fault {
		d := httpsDrain(t, name, settings)
		f := make(newGate(t, authority, d))
		f.drain = d
		return f
	}
	certificate := func(age certificateAge, host, says string) func(*gate) fault {
		return func(g *gate) fault {
			return fault{
				impose: func() { g.present(age, host) }, state: schema.DrainMisconfigured, says: says,
				lift: func() { g.present(valid, "127.0.0.1") }, operate: true,
			}
		}
	}
	answer := func(state, says string, status int, header ...string) func(*gate) fault {
		return func(g *gate) fault {
			return fault{
				impose: func() { g.answer(always(status, header...)) }, state: state, says: says,
				lift: func() { g.answer(nil) }, operate: state == schema.DrainMisconfigured,
			}
		}
	}
	poisoned := func(g *gate) fault {
		return fault{
			impose: func() {
				g.answer(func(w http.ResponseWriter, body []byte) bool {
					return bytes.Contains(body, []byte("poison ")) && always(http.StatusBadRequest)(w, body)
				})
			},
			picky: true,
		}
	}
	small := func(g *gate) fault {
		return fault{
			impose: func() {
				g.answer(func(w http.ResponseWriter, body []byte) bool {
					return len(body) > 8<<10 && always(http.StatusRequestEntityTooLarge)(w, body)
				})
			},
			check: func() {
				if g.refusals() == 0 {
					t.Error("no request was too large: nothing was tested")
				}
			},
		}
	}
	return []fault{
		make("expired", ", format: ndjson", certificate(expired, "127.0.0.1", "has expired")),
		make("other-host", ", format: ndjson", certificate(valid, "logs.example.com", "for another host name")),
		make("busy", ", format: ndjson", answer(schema.DrainRetrying, "429 Too Many Requests", http.StatusTooManyRequests, "Retry-After: 2")),
		make("forbidden", ", format: array", answer(schema.DrainMisconfigured, "refuses the credentials", http.StatusUnauthorized)),
		make("small", ", format: ndjson", small),
		make("picky", ", format: ndjson", poisoned),
		make("picky-alone", "", poisoned),
	}
}

// longFault is of a drain that answers with 500 for minutes.
func longFault(t *testing.T) fault {
	d := httpsDrain(t, "broken", "")
	g := newGate(t, sinktest.NewAuthority(t), d)
	return fault{
		drain: d, state: schema.DrainRetrying, says: "500 Internal Server Error",
		impose: func() { g.answer(always(http.StatusInternalServerError)) }, lift: func() { g.answer(nil) },
	}
}

// syslogFault is of a syslog server that is restarted under load. At the end of it, it hangs, with
// what its kernel has for it, and is killed.
func syslogFault(t *testing.T) fault {
	s := syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true})
	d := syslogDrain(t, "log", s, true)
	more := func(v *server, when string) {
		before := v.delivered(d.name)
		await(t, "for the syslog server to have more "+when, func() bool { return v.delivered(d.name) > before })
	}
	return fault{
		drain: d, state: schema.DrainRetrying, says: "nothing listens there",
		impose: func() {},
		during: func(v *server) {
			more(v, "at first")
			s.Restart(t)
			more(v, "after its restart")
			// What a connection that has not proven itself carries would be sent again: the kernel of a
			// server that hangs has no room for all of it.
			v.awaitStatus(d, func(s operate.DrainStatus) bool { return s.State == schema.DrainDelivering })
			s.Signal(t, syscall.SIGSTOP)
			more(v, "while it hangs")
			s.Kill(t)
		},
		lift: func() { s.Start(t) },
	}
}

// blockFault is of an Elasticsearch that takes no writes for some time.
func blockFault(t *testing.T, node *estest.Node) fault {
	d := elasticsearchDrainAt(t, "blocked", node, "")
	block := func(on bool) {
		stream := dataStream.FindStringSubmatch(d.entry)[1]
		node.Do(t, "PUT", "/"+stream+"/_settings", map[string]any{"index.blocks.write": on})
	}
	return fault{
		drain: d, state: schema.DrainRetrying, says: "cluster_block_exception", once: true,
		impose: func() { block(true) }, lift: func() { block(false) },
	}
}

// killFault is of an Elasticsearch that is killed when it has done a bulk request and not answered
// it.
func killFault(t *testing.T, node *estest.Node) fault {
	d := elasticsearchDrainAt(t, "killed", node, ", timeout: 5s")
	w := newWire(t, d)
	var before int
	return fault{
		drain: d, state: schema.DrainRetrying, says: "write to the data stream", once: true,
		impose: func() {
			before = len(d.arrived(t, 0))
			w.poison("downstream", "timeout", `"timeout": 0`)
		},
		during: func(*server) {
			await(t, "for the node to have more", func() bool { return len(d.arrived(t, 0)) > before })
			node.Kill()
			w.heal("downstream")
		},
		lift: func() {
			if err := node.Revive(); err != nil {
				t.Fatal(err)
			}
		},
	}
}
