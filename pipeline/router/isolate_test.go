package router

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/https"
)

const poison = "/etc/passwd"

// TestRefusedContent has drains that refuse records with one string, as a web application firewall
// does: each such record becomes a dead letter, and all others are delivered once, in order.
func TestRefusedContent(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	receivers := make(map[string]*receiver)
	for _, status := range []int{302, 400, 401, 403, 404, 406, 413, 451, 502, 503, reset, cut} {
		for _, format := range []https.Format{https.NDJSON, https.JSON} {
			name := fmt.Sprint(status, "-", format)
			receivers[name] = newReceiver(t, refusing(poison, status))
			g.drains = append(g.drains, receivers[name].drain(name, format, 0))
		}
	}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}

	// The first record that a drain ever receives is one of them.
	first := g.converseWith("Ada", "head -1 "+poison)
	first.say("root:x:0:0:root:/root:/bin/bash")
	first.end()
	second := g.converseWith("Grace", "")
	for n := range 40 {
		second.say(fmt.Sprintf("line %d", n))
	}
	second.say("cat "+poison, "between", poison, poison+" again")
	for n := range 40 {
		second.say(fmt.Sprintf("line %d", n))
	}
	second.end()
	third := g.converse("web")
	third.say("harmless")
	third.end()
	g.start()
	defer func() { g.stop() }()
	for name, r := range receivers {
		for _, s := range []*conversation{first, second, third} {
			waittest.Until(t, name+": operation "+s.op.ID+" is delivered", func() bool { return r.ended(s.op) })
		}
		dead := letters(t, o, name)
		for _, s := range []*conversation{first, second, third} {
			r.mustHave(t, s.op, dead[s.op.ID])
		}
		if len(dead[first.op.ID]) != 1 || !dead[first.op.ID][1] || len(dead[second.op.ID]) != 3 || len(dead[third.op.ID]) != 0 {
			t.Errorf("%s: dead letters %v", name, dead)
		}
		list, err := o.DeadLetters(t.Context(), operate.LetterFilter{Drain: name}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			if strings.Contains(l.Reason, "credentials") || strings.Contains(l.Reason, poison) {
				t.Errorf("%s: the reason misleads: %s", name, l.Reason)
			}
		}
		waittest.Until(t, name+" says that it delivers", func() bool {
			d := stateOf(t, o, name)
			return d.State == schema.DrainDelivering && strings.Contains(d.LastError, "dead letter")
		})
	}
}

// TestEverythingRefused has drains that refuse all records: the cause is the settings, no record
// becomes a dead letter, and all are delivered when the settings are right.
func TestEverythingRefused(t *testing.T) {
	for _, accepted := range []bool{false, true} { // records before
		t.Run(fmt.Sprint("after it has accepted records: ", accepted), func(t *testing.T) {
			t.Parallel()
			everythingRefused(t, accepted)
		})
	}
}

func everythingRefused(t *testing.T, accepted bool) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	receivers, states, refusals := make(map[string]*receiver), make(map[string]string), make(map[string]func([]byte) int)
	for _, status := range []int{301, 400, 401, 403, 404, 405, 406, 409, 411, 412, 413, 415, 417, 418, 421, 422, 423, 426, 428, 431, 451, 500, 503, 505, 511, reset} {
		for _, format := range []https.Format{https.NDJSON, https.JSON} {
			name := fmt.Sprint(status, "-", format)
			refusals[name] = func([]byte) int { return status }
			receivers[name] = newReceiver(t, func([]byte) int { return http.StatusOK })
			g.drains = append(g.drains, receivers[name].drain(name, format, 0))
			if states[name] = schema.DrainMisconfigured; status == 500 || status == 503 || status == reset {
				states[name] = schema.DrainRetrying
			}
		}
	}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	delivered := uint64(0)
	if accepted {
		g.start()
		s := g.converse("web")
		s.end()
		for name, r := range receivers {
			waittest.Until(t, name+" accepts a session", func() bool { return r.ended(s.op) })
			delivered = uint64(len(r.of(s.op)))
		}
	}
	for name, r := range receivers {
		r.set(refusals[name])
	}
	before := make(map[string]int)
	for name, r := range receivers {
		before[name] = r.count()
	}
	var sessions []*conversation
	for range 3 {
		s := g.converse("web")
		for n := range 30 {
			s.say(fmt.Sprintf("line %d", n))
		}
		s.end()
		sessions = append(sessions, s)
	}
	if !accepted {
		g.start()
	}
	defer func() { g.stop() }()
	for name, r := range receivers {
		var d operate.DrainStatus
		waittest.Until(t, name+" is "+states[name], func() bool {
			d = stateOf(t, o, name)
			return d.State == states[name]
		})
		if n := r.count() - before[name]; n < 2 {
			t.Errorf("%s was found to be %s by %d requests", name, states[name], n)
		}
		if d.DeadLetters != 0 || d.Delivered != delivered || d.LastError == "" {
			t.Errorf("%+v", d)
		}
		r.set(func([]byte) int { return http.StatusOK })
	}
	for name, r := range receivers {
		for _, s := range sessions {
			waittest.Until(t, name+": operation "+s.op.ID+" is delivered", func() bool { return r.ended(s.op) })
			r.mustHave(t, s.op, nil)
		}
		if dead := letters(t, o, name); len(dead) > 0 {
			t.Errorf("%s: dead letters %v", name, dead)
		}
	}
}

// TestRefusedUser has a drain that refuses records with the name of one user, including probe
// records of their session: other sessions are delivered, and show that the settings are right.
func TestRefusedUser(t *testing.T) {
	for _, status := range []int{403, 400} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
			defer g.bus.Close()
			r := newReceiver(t, refusing("O'Brien", status))
			d := r.drain("siem", https.NDJSON, 0)
			d.Writers = 1
			g.drains = []drain.Drain{d}
			o := &operate.Operator{Bus: g.bus, Drains: g.drains}
			g.start()
			defer func() { g.stop() }()
			refused := g.converseWith("Miles O'Brien", "")
			refused.say("one", "two")
			refused.end()
			waittest.Until(t, "the drain is misconfigured", func() bool { return stateOf(t, o, "siem").State == schema.DrainMisconfigured })
			if n := stateOf(t, o, "siem").DeadLetters; n != 0 {
				t.Errorf("%d dead letters before the drain has accepted anything", n)
			}
			other := g.converseWith("Grace", "")
			other.say("three", "four")
			other.end()
			waittest.Until(t, "the other session is delivered", func() bool { return r.ended(other.op) })
			r.mustHave(t, other.op, nil)
			waittest.Until(t, "the refused session is given up", func() bool { return len(letters(t, o, "siem")[refused.op.ID]) >= 3 })
			waittest.Until(t, "the drain says that it delivers", func() bool { return stateOf(t, o, "siem").State == schema.DrainDelivering })
		})
	}
}

// acceptProbes accepts probe records, and refuses those of sessions.
func acceptProbes(body []byte) int {
	if bytes.Contains(body, []byte(`"operation_id":"`+schema.TestPrefix)) {
		return http.StatusOK
	}
	return http.StatusBadRequest
}

// TestOnlyProbesAccepted has a drain that accepts probe records and no others: after some dead
// letters the cause is the settings.
func TestOnlyProbesAccepted(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	r := newReceiver(t, acceptProbes)
	g.drains = []drain.Drain{r.drain("siem", https.NDJSON, 0)}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	for n := range 100 {
		s.say(fmt.Sprintf("line %d", n))
	}
	s.end()
	g.start()
	defer func() { g.stop() }()
	waittest.Until(t, "the drain is misconfigured", func() bool { return stateOf(t, o, "siem").State == schema.DrainMisconfigured })
	if n := len(letters(t, o, "siem")[s.op.ID]); n > maxLettersUnproven {
		t.Errorf("%d dead letters", n)
	}
	r.set(func([]byte) int { return 200 })
	waittest.Until(t, "the rest is delivered", func() bool { return r.ended(s.op) })
	r.mustHave(t, s.op, letters(t, o, "siem")[s.op.ID])
}

// TestRejecting has a drain that accepts probe records and refuses those of sessions: it is not
// delivering, and shows the reason, until it accepts one.
func TestRejecting(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	r := newReceiver(t, acceptProbes)
	g.drains = []drain.Drain{r.drain("siem", https.NDJSON, 0)}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	s.say("one", "two", "three", "four")
	s.end()
	g.start()
	defer func() { g.stop() }()
	waittest.Until(t, "the drain is rejecting", func() bool {
		d := stateOf(t, o, "siem")
		return d.State == schema.DrainRejecting && d.LagRecords == 0 && strings.Contains(d.LastError, "became a dead letter: ") && strings.Contains(d.LastError, "answered 400")
	})
	r.set(func([]byte) int { return 200 })
	other := g.converse("web")
	other.end()
	waittest.Until(t, "the drain is delivering", func() bool { return stateOf(t, o, "siem").State == schema.DrainDelivering })
}

// TestProofRejecting holds that refused records count only some time after the last accepted one.
func TestProofRejecting(t *testing.T) {
	p, now := newProof(), time.Now()
	refuse := func(at time.Time, want bool) {
		t.Helper()
		for range rejectingLetters {
			if p.rejecting() {
				t.Error("rejecting too early")
			}
			p.gaveUp(at)
		}
		if p.rejecting() != want {
			t.Errorf("rejecting: %v", !want)
		}
	}
	refuse(now, true) // it has never accepted a record
	p.accepted(now, true)
	refuse(now.Add(rejectingTime-1), false) // such as others of the same write
	refuse(now.Add(rejectingTime), true)
	p.accepted(now, false) // a probe record
	if !p.rejecting() {
		t.Error("a probe record ends it")
	}
	p.accepted(now, true)
	if p.rejecting() {
		t.Error("an accepted record does not end it")
	}
}

// TestRefusedItems has a drain that answers for each record of a request, as Elasticsearch does. It
// refuses all of them, as with a mapping that no record fits, and then those with one string.
func TestRefusedItems(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	refused := "" // all
	sink := g.memoryDrain("search", nil)
	sink.fail = func(batch []sinks.Entry) error {
		o := sinks.NewOutcome(len(batch))
		for i, e := range batch {
			if bytes.Contains(e.Record.Text, []byte(refused)) {
				o.FailItem(sinks.Item{Index: i, Verdict: sinks.Rejected, Status: 400, Reason: "Elasticsearch answered 400: the record does not fit: compare the mapping"})
			} else {
				o.Deliver(i)
			}
		}
		if e := o.Error(); e != nil {
			return e
		}
		return nil
	}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	for n := range 50 {
		s.say(fmt.Sprintf("line %d", n), "", fmt.Sprintf("%s %d", poison, n))
	}
	s.end()
	g.start()
	defer func() { g.stop() }()
	waittest.Until(t, "the drain is misconfigured", func() bool { return stateOf(t, o, "search").State == schema.DrainMisconfigured })
	if d := stateOf(t, o, "search"); d.DeadLetters != 0 || d.Delivered != 0 || !strings.Contains(d.LastError, "settings are the cause") {
		t.Errorf("%+v", d)
	}
	sink.mu.Lock()
	refused = poison
	sink.mu.Unlock()
	waittest.Until(t, "the rest is delivered", func() bool { return sink.last(s.op) == schema.EventEnd })
	// They are stored after the write, which also delivered the end.
	waittest.Until(t, "50 dead letters", func() bool { return len(letters(t, o, "search")[s.op.ID]) == 50 })
	dead := letters(t, o, "search")[s.op.ID]
	next := uint64(1)
	for _, r := range sink.got[s.op.ID] {
		for dead[next] {
			next++
		}
		if r.Sequence != next {
			t.Fatalf("record %d came where %d was due", r.Sequence, next)
		}
		next++
	}
}

// TestTooLargeByReset has a drain that answers 413 to large requests, and closes the connection
// while the body is being sent, so that the answer is lost.
func TestTooLargeByReset(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	r := newReceiver(t, func(body []byte) int {
		if len(body) > 20<<10 {
			return reset
		}
		return http.StatusOK
	})
	g.drains = []drain.Drain{r.drain("siem", https.NDJSON, 0)}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	for n := range 400 {
		s.say(fmt.Sprintf("line %d %s", n, strings.Repeat("x", 400)))
	}
	s.end()
	g.start()
	defer func() { g.stop() }()
	waittest.Until(t, "the session is delivered", func() bool { return r.ended(s.op) })
	r.mustHave(t, s.op, nil)
	if dead := letters(t, o, "siem"); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead)
	}
	// From then on, requests stay below the size.
	before := r.count()
	retries := g.counted(g.r.workers[0].target.series.retries, "siem")
	next := g.converse("web")
	for n := range 100 {
		next.say(fmt.Sprintf("line %d %s", n, strings.Repeat("x", 400)))
	}
	next.end()
	waittest.Until(t, "the next session is delivered", func() bool { return r.ended(next.op) })
	r.mustHave(t, next.op, nil)
	if n := g.counted(g.r.workers[0].target.series.retries, "siem") - retries; n > 0 {
		t.Errorf("%v failures of %d requests after the size was known", n, r.count()-before)
	}
}

// TestNextRetry: a Retry-After of a drain is respected, up to an hour, and the list shows the time
// of the next retry.
func TestNextRetry(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	wanted := map[string]struct {
		status int
		header http.Header
		least  time.Duration
		most   time.Duration
	}{
		"a day":    {503, http.Header{"Retry-After": {"86400"}}, 50 * time.Minute, time.Hour},
		"ten days": {429, http.Header{"Retry-After": {time.Now().Add(240 * time.Hour).UTC().Format(http.TimeFormat)}}, 50 * time.Minute, time.Hour},
		// Its clock is two hours ahead.
		"minutes": {503, http.Header{"Date": {time.Now().Add(2 * time.Hour).UTC().Format(http.TimeFormat)},
			"Retry-After": {time.Now().Add(2*time.Hour + 20*time.Minute).UTC().Format(http.TimeFormat)}}, 15 * time.Minute, 20 * time.Minute},
		"no header": {503, nil, 0, 2 * maxRetry},
	}
	for name, c := range wanted {
		r := newReceiver(t, func([]byte) int { return c.status })
		r.header = c.header
		g.drains = append(g.drains, r.drain(name, https.NDJSON, 0))
	}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	s.say("one")
	s.end()
	g.start()
	defer func() { g.stop() }()
	for name, c := range wanted {
		waittest.Until(t, name+": the next try is known", func() bool {
			d := stateOf(t, o, name)
			if d.NextTry.IsZero() {
				return false
			}
			wait := d.NextTry.Sub(d.LastErrorAt)
			if wait < c.least || wait > c.most+time.Second {
				t.Fatalf("%s: the next try is %s after the last", name, wait)
			}
			return d.State == schema.DrainRetrying
		})
	}
	if err := o.Pause(t.Context(), "a day", true); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "a drain that is paused has no next try", func() bool { return stateOf(t, o, "a day").NextTry.IsZero() })
}

// TestContentCausesHang has a drain that never answers a request with one string in it.
func TestContentCausesHang(t *testing.T) {
	t.Parallel()
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	r := newReceiver(t, refusing(poison, hang))
	g.drains = []drain.Drain{r.drain("siem", https.NDJSON, 3*time.Second)}
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	s := g.converse("web")
	s.say("one", "two", "cat "+poison, "three")
	s.end()
	other := g.converse("web")
	other.say("harmless")
	other.end()
	g.start()
	defer func() { g.stop() }()
	for _, c := range []*conversation{s, other} {
		waittest.Until(t, "operation "+c.op.ID+" is delivered", func() bool { return r.ended(c.op) })
		dead := letters(t, o, "siem")[c.op.ID]
		r.mustHave(t, c.op, dead)
		if len(dead) > 1 {
			t.Errorf("dead letters: %v", dead)
		}
	}
}
