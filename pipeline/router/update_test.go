package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A versioned is a drain whose settings have versions, with the records of its sinks.
type versioned struct {
	*memorySink
	name           string
	opened, closed atomic.Int64
}

func newVersioned(name string) *versioned {
	return &versioned{memorySink: &memorySink{got: make(map[string][]schema.Record)}, name: name}
}

// settings are the settings of a versioned drain.
type settings struct {
	Version int
	Stuck   bool // it never answers
}

func (v *versioned) drain(s settings, match ...drain.Match) drain.Drain {
	return drain.Drain{
		Name: v.name, Settings: s, Match: match, BatchRecords: 50, BatchBytes: 1 << 20,
		Open: func() (sinks.Sink, error) {
			v.opened.Add(1)
			return &versionedSink{v, s.Stuck, false}, nil
		},
	}
}

type versionedSink struct {
	*versioned
	stuck, over bool
}

func (s *versionedSink) Write(ctx context.Context, batch []sinks.Entry) error {
	if s.over {
		return errors.New("written to after it was closed")
	}
	if s.stuck {
		<-ctx.Done()
		return &sinks.Error{Verdict: sinks.Retry, Reason: "cancelled"}
	}
	return s.memorySink.Write(ctx, batch)
}

func (s *versionedSink) Close() error {
	if s.over {
		return errors.New("closed twice")
	}
	s.over = true
	s.closed.Add(1)
	return nil
}

func (v *versioned) mustBe(t *testing.T, opened, closed int64) {
	t.Helper()
	if o, c := v.opened.Load(), v.closed.Load(); o != opened || c != closed {
		t.Errorf("drain %s was opened %d times and closed %d times; expected %d and %d", v.name, o, c, opened, closed)
	}
}

func (g *rig) update(drains ...drain.Drain) {
	g.t.Helper()
	if err := g.r.Update(drains); err != nil {
		g.t.Fatal(err)
	}
	g.drains = drains
}

// seriesOf returns the drains with metrics.
func seriesOf(t *testing.T, m *Metrics) []string {
	t.Helper()
	r := prometheus.NewRegistry()
	for _, c := range m.counters {
		r.MustRegister(c)
	}
	for _, h := range m.histograms {
		r.MustRegister(h)
	}
	r.MustRegister(m.partitions, m.expiry, m.lagRecords, m.lagSegments, m.lagSeconds)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "drain" {
					names = append(names, label.GetValue())
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestUpdate(t *testing.T) {
	const partitions = 2
	g := &rig{t: t, bus: openBus(t, t.TempDir(), partitions), key: testKey(t)}
	defer g.bus.Close()
	same, one, two, gone, fresh := newVersioned("same"), newVersioned("changed"), newVersioned("changed"), newVersioned("gone"), newVersioned("fresh")
	g.drains = []drain.Drain{same.drain(settings{}), one.drain(settings{Version: 1}), gone.drain(settings{})}
	g.start()
	defer func() { g.stop() }()
	o := &operate.Operator{Bus: g.bus, Drains: g.drains}
	rng := rand.New(rand.NewPCG(8, 8))
	first, shownFirst := g.session(rng, "web", 10_000, false)
	g.drain()

	g.update(fresh.drain(settings{}), two.drain(settings{Version: 2}), same.drain(settings{}))
	o.Update(g.drains)
	second, shownSecond := g.session(rng, "web", 10_000, false)
	g.drain()
	same.mustBe(t, partitions, 0)
	one.mustBe(t, partitions, partitions)
	two.mustBe(t, partitions, 0)
	gone.mustBe(t, partitions, partitions)
	fresh.mustBe(t, partitions, 0)
	for _, v := range []*versioned{same, one, gone, fresh} {
		v.check(t, first, shownFirst) // a new drain receives the stream from its beginning
	}
	for _, v := range []*versioned{same, two, fresh} {
		v.check(t, second, shownSecond)
	}
	if n := two.count(first); n != 0 {
		t.Errorf("the changed drain got %d records again that it had before", n)
	}
	if n := one.count(second) + gone.count(second); n != 0 {
		t.Errorf("the drains that are no more got %d records", n)
	}
	if names := seriesOf(t, g.r.o.Metrics); !slices.Equal(names, []string{"changed", "fresh", "same"}) {
		t.Errorf("there are metrics of %v", names)
	}
	list, err := o.List(t.Context())
	if err != nil || len(list) != 3 || list[0].Name != "fresh" {
		t.Errorf("an operator sees %+v, %v", list, err)
	}
	if err := o.Pause(t.Context(), "gone", true); !errors.Is(err, operate.ErrUnknownDrain) {
		t.Errorf("a drain that is gone can be paused: %v", err)
	}

	// One that comes back holds that delivery resumes at the position.
	before := gone.count(first)
	g.update(same.drain(settings{}), gone.drain(settings{}))
	g.drain()
	gone.check(t, second, shownSecond)
	if n := gone.count(first); n != before {
		t.Errorf("the drain that came back got %d records again", n-before)
	}
	same.mustBe(t, partitions, 0)
	gone.mustBe(t, 2*partitions, partitions)
	if names := seriesOf(t, g.r.o.Metrics); !slices.Equal(names, []string{"gone", "same"}) {
		t.Errorf("there are metrics of %v", names)
	}
	g.stop()
	same.mustBe(t, partitions, partitions)
	if err := g.r.Update(g.drains); err == nil {
		t.Error("a router that has stopped can be updated")
	}
	g.start()
}

func TestUpdateIsAtomic(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	a, b := newVersioned("a"), newVersioned("b")
	g.drains = []drain.Drain{a.drain(settings{}), b.drain(settings{})}
	g.start()
	defer func() { g.stop() }()
	g.waitWorking()
	broken := drain.Drain{Name: "broken", Open: func() (sinks.Sink, error) { return nil, errors.New("ca.pem may not be read") }}
	err := g.r.Update([]drain.Drain{a.drain(settings{Version: 2}), broken})
	if err == nil || !strings.Contains(err.Error(), "drain broken: ca.pem") {
		t.Fatalf("the error is %v", err)
	}
	a.mustBe(t, 2, 1) // the second was opened in vain
	b.mustBe(t, 1, 0)
	if names := seriesOf(t, g.r.o.Metrics); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("there are metrics of %v", names)
	}
	op, shown := g.session(rand.New(rand.NewPCG(9, 9)), "web", 5_000, false)
	g.drain()
	a.check(t, op, shown)
	b.check(t, op, shown)
}

// TestUpdateMatch: a changed match applies from the next record on, and to the undelivered records
// of a drain that lags.
func TestUpdateMatch(t *testing.T) {
	const partitions = 2
	g := &rig{t: t, bus: openBus(t, t.TempDir(), partitions), key: testKey(t)}
	defer g.bus.Close()
	v := newVersioned("chosen")
	version := 0
	match := func(apps ...string) drain.Drain {
		version++
		var m []drain.Match
		for _, app := range apps {
			m = append(m, drain.Match{App: app})
		}
		return v.drain(settings{Version: version}, m...)
	}
	g.drains = []drain.Drain{match("web")}
	g.start()
	defer func() { g.stop() }()
	rng := rand.New(rand.NewPCG(12, 12))
	type session struct {
		op    *schema.Operation
		shown []byte
	}
	record := func(app string) session {
		op, shown := g.session(rng, app, 5_000, false)
		g.drain()
		return session{op, shown}
	}
	must := func(what string, s session, got bool) {
		t.Helper()
		if got {
			v.check(t, s.op, s.shown)
		} else if n := v.count(s.op); n != 0 {
			t.Errorf("%s: %d records were delivered", what, n)
		}
	}
	before, other := record("web"), record("db")
	g.update(match("db"))
	narrow, taken := record("web"), record("db")
	g.update(match("db", "web"))
	both := record("web")
	must("what its match had", before, true)
	must("what no match had before", other, false)
	must("what it took by the second match", taken, true)
	must("what it did not take by the second match", narrow, false)
	must("what it takes by the third", both, true)
	g.stop() // and after a restart
	g.drains = []drain.Drain{match("api")}
	g.start()
	later := record("api")
	must("what came before a restart", narrow, false)
	must("what came after it", later, true)

	// The undelivered records of a failing drain are selected by its new match.
	for _, test := range []struct {
		apps []string
		got  bool
	}{{[]string{"api", "web"}, true}, {[]string{"web"}, false}} {
		v.refuse(errors.New("down"))
		waiting := record("api")
		g.update(match(test.apps...))
		v.refuse(nil)
		g.drain()
		must("what waited", waiting, test.got)
	}
	must("what came before all that", narrow, false)
}

// refuse sets the error of every write; nil for none.
func (s *memorySink) refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
	if why != nil {
		s.fail = func([]sinks.Entry) error { return &sinks.Error{Verdict: sinks.Retry, Reason: why.Error()} }
	}
}

// TestUpdateStuckDrain changes a drain during a write that never ends.
func TestUpdateStuckDrain(t *testing.T) {
	g := &rig{t: t, bus: openBus(t, t.TempDir(), 1), key: testKey(t)}
	defer g.bus.Close()
	writing := make(chan struct{})
	v := newVersioned("stuck")
	stuck := v.drain(settings{Stuck: true})
	open := stuck.Open
	stuck.Open = func() (sinks.Sink, error) {
		s, err := open()
		return announcing{s, sync.OnceFunc(func() { close(writing) })}, err
	}
	g.drains = []drain.Drain{stuck}
	g.start()
	defer func() { g.stop() }()
	op, shown := g.session(rand.New(rand.NewPCG(10, 10)), "web", 5_000, false)
	<-writing
	g.update(v.drain(settings{}))
	g.drain()
	v.check(t, op, shown)
	v.mustBe(t, 2, 1)
}

// An announcing sink signals its writes.
type announcing struct {
	sinks.Sink
	written func()
}

func (a announcing) Write(ctx context.Context, batch []sinks.Entry) error {
	a.written()
	return a.Sink.Write(ctx, batch)
}

// TestUpdatesUnderLoad changes, removes and adds drains at random while sessions are recorded: in
// the end each drain has every record, in order.
func TestUpdatesUnderLoad(t *testing.T) {
	const partitions, updates = 2, 200
	g := &rig{t: t, bus: openBus(t, t.TempDir(), partitions), key: testKey(t)}
	defer g.bus.Close()
	rng := rand.New(rand.NewPCG(11, 11))
	constant := newVersioned("constant")
	drains := []*versioned{newVersioned("a"), newVersioned("b"), newVersioned("c"), newVersioned("d")}
	g.drains = []drain.Drain{constant.drain(settings{})}
	for _, v := range drains {
		g.drains = append(g.drains, v.drain(settings{}))
	}
	g.start()
	defer func() { g.stop() }()
	type session struct {
		op    *schema.Operation
		shown []byte
	}
	var sessions []session
	record := func() {
		op, shown := g.session(rng, []string{"web", "db"}[rng.IntN(2)], 3_000, rng.IntN(2) == 0)
		sessions = append(sessions, session{op, shown})
	}
	for range 10 { // some for each partition
		record()
	}
	g.drain()
	idle := runtime.NumGoroutine() // with all workers at work

	var updating sync.WaitGroup
	recorded, done := make(chan struct{}), make(chan struct{})
	updating.Go(func() { // ends after its updates
		defer close(done)
		rng := rand.New(rand.NewPCG(12, 12))
		version := make([]settings, len(drains))
		for i := range updates {
			if i%5 == 0 {
				<-recorded // the load goes on during all of them
			}
			next := []drain.Drain{constant.drain(settings{})}
			for j, v := range drains {
				switch rng.IntN(4) {
				case 0: // gone
					continue
				case 1:
					version[j] = settings{Version: i, Stuck: rng.IntN(3) == 0}
				}
				next = append(next, v.drain(version[j]))
			}
			rng.Shuffle(len(next), func(a, b int) { next[a], next[b] = next[b], next[a] })
			if err := g.r.Update(next); err != nil {
				t.Error(err)
			}
		}
	})
	for going := true; going; {
		record()
		select {
		case recorded <- struct{}{}:
		case <-done:
			going = false
		}
	}
	updating.Wait()
	last := []drain.Drain{constant.drain(settings{})}
	for _, v := range drains {
		last = append(last, v.drain(settings{Version: updates}))
	}
	g.update(last...)
	g.drain()
	for _, v := range append(drains, constant) {
		for _, s := range sessions {
			v.check(t, s.op, s.shown)
		}
		if open := v.opened.Load() - v.closed.Load(); open != partitions {
			t.Errorf("drain %s has %d open sinks", v.name, open)
		}
	}
	constant.mustBe(t, partitions, 0)
	for _, s := range sessions {
		for i, r := range constant.got[s.op.ID] {
			if r.Sequence != uint64(i+1) {
				t.Fatalf("the drain that stayed the same got record %d of operation %s instead of record %d", r.Sequence, s.op.ID, i+1)
			}
		}
	}
	t.Logf("%d sessions during %d updates", len(sessions), updates)
	waittest.Until(t, fmt.Sprintf("as many goroutines as before, which is %d", idle), func() bool { return runtime.NumGoroutine() <= idle })
}
