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

// A fault is a way in which one drain fails.
type fault struct {
	drain *destination
	// impose starts it, at a drain that has delivered before.
	impose func()
	// during runs while sessions produce load; nil for nothing.
	during func(*server)
	// state and says are the state of the drain meanwhile: says is in its last error.
	state, says string
	// lift ends it; nil for a permanent fault with which the drain works.
	lift func()
	// operate makes an operator pause and resume the drain when the fault is lifted. A misconfigured
	// drain is retried after up to two minutes, for which the test does not wait.
	operate bool
	// picky: poison records become dead letters.
	picky bool
	// check checks the end of the test.
	check func()
	// once: the drain has each record once in any case.
	once bool
}

var outage = flag.Duration("outage", 5*time.Minute, "how long TestFaults has a drain answer every request with 500")

// mostLag is the maximum lag of the good drain in the records of a steady session, with ten records
// a second, while others fail.
const mostLag = 100

const (
	// faultMark is in the output of sessions under load, and in no message of ttydrain.
	faultMark = "of a session under load"
	// faultLines is the minimum number of lines of each session. One in a thousand is poison, the
	// first of them the 500th.
	faultLines = 1000
	// faultCommand shows as many lines as each line of its input demands.
	faultCommand = `k=0; while read -r n; do for ((i = 0; i < n; i++)); do k=$((k + 1))
		if ((k % 1000 == 500)); then echo "poi""son $k ` + faultMark + `"; else echo "line $k ` + faultMark + `, größe"; fi; done; done`
)

// TestFaults has one drain for each way to fail, and a good one. Most fail at the same time, while
// there are many sessions; one fails for five minutes. A steady session runs all the time, in which
// the good drain may not lag.
func TestFaults(t *testing.T) {
	node := estest.Start(t, estest.Options{Security: true}) // first: what is absent is told before anything is started
	inbox := startTokenReceiver(t, "a-token")
	good := inbox.destination
	good.name = "good"
	good.entry = fmt.Sprintf(`{name: good, type: https, format: ndjson, url: "https://%s/logs", ca_file: %q, headers: {Authorization: Bearer a-token}}`, inbox.address, inbox.ca)
	rounds := [][]fault{
		slices.Concat(networkFaults(t), answerFaults(t), []fault{syslogFault(t), blockFault(t, node)}),
		{killFault(t, node)}, // by itself, on the node of the drain blocked is that of the drain blocked
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
	t.Parallel() // this costs nearly nothing: the five minutes pass while other tests run nearly nothing: the five minutes pass beside the tests before
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
	mustNotLeak(t, "serve's log", v.log.String())
}

// fail makes drains fail at the same time while there are sessions, which it returns: the good
// drain gets all of them while the faults last, each other one reports its fault, and catches up by
// itself after it.
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

// mustBeUnharmed checks that a drain has never retried.
func (v *server) mustBeUnharmed(t *testing.T, good *destination) {
	t.Helper()
	if s := v.drainStatus(good.name); s.State != schema.DrainDelivering || s.LastError != "" || v.counter("ttydrain_drain_retries_total", good.name) != 0 {
		t.Errorf("the good drain has had an error: %+v", s)
	}
}

// lift ends a fault when the drain has reported it.
func (v *server) lift(t *testing.T, f fault) {
	v.awaitStatus(f.drain, func(s operate.DrainStatus) bool { return s.State == f.state && strings.Contains(s.LastError, f.says) })
	if v.counter("ttydrain_drain_retries_total", f.drain.name) == 0 {
		t.Errorf("drain %s: no metric tells of a retry", f.drain.name)
	}
	f.lift()
	if f.operate {
		v.operate("drains", "pause", f.drain.name, "--yes")
		v.operate("drains", "resume", f.drain.name)
	}
}

// mustCatchUp checks that drains get all of the sessions, except for the records that some of them
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

// faultSessions returns sessions that have ended, and that showed lines while during ran. rejects
// is the number of their lines that are poison.
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

// networkFaults returns faults between ttydrain and a drain.
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
		// It receives everything, and does not answer within the 30 seconds of a write.
		make("silent", "", schema.DrainRetrying, "no answer in time",
			func(w *wire) { w.poison("downstream", "timeout", `"timeout": 0`) }, func(w *wire) { w.heal("downstream") }),
		make("slow", ", timeout: 10s", schema.DrainRetrying, "no answer in time", // a byte a second
			func(w *wire) {
				w.poison("upstream", "slicer", `"average_size": 1, "size_variation": 0, "delay": 1000000`)
			}, func(w *wire) { w.heal("upstream") }),
	}
}

// answerFaults returns faults of a drain in its certificates and answers.
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
		make("expired", ", format: ndjson", certificate(expired, "127.0.0.1", "expired ")),
		make("other-host", ", format: ndjson", certificate(valid, "logs.example.com", "for another host name")),
		make("busy", ", format: ndjson", answer(schema.DrainRetrying, "429 Too Many Requests", http.StatusTooManyRequests, "Retry-After: 2")),
		make("forbidden", ", format: array", answer(schema.DrainMisconfigured, "refuses the credentials", http.StatusUnauthorized)),
		make("small", ", format: ndjson", small),
		make("picky", ", format: ndjson", poisoned),
		make("picky-alone", "", poisoned),
	}
}

// longFault returns the fault of a drain that answers with 500 for minutes.
func longFault(t *testing.T) fault {
	d := httpsDrain(t, "broken", "")
	g := newGate(t, sinktest.NewAuthority(t), d)
	return fault{
		drain: d, state: schema.DrainRetrying, says: "500 Internal Server Error",
		impose: func() { g.answer(always(http.StatusInternalServerError)) }, lift: func() { g.answer(nil) },
	}
}

// syslogFault returns the fault of a syslog server that is restarted under load. In the end it
// hangs, with data in its kernel, and is killed.
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
			// The data of a connection that has not proven itself would be sent again: the kernel of a
			// hanging server has no room for all of it.
			v.awaitStatus(d, func(s operate.DrainStatus) bool { return s.State == schema.DrainDelivering })
			s.Signal(t, syscall.SIGSTOP)
			more(v, "while it hangs")
			s.Kill(t)
		},
		lift: func() { s.Start(t) },
	}
}

// blockFault returns the fault of an Elasticsearch that accepts no writes for some time.
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

// killFault returns the fault of an Elasticsearch that is killed when it has executed a bulk
// request and not answered it.
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
