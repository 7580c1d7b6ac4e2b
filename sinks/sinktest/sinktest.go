package sinktest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// A Target is one sink with a drain of its own.
type Target struct {
	// Sink writes to the drain through Proxy, or is local. The suite closes it.
	Sink  sinks.Sink
	Proxy *Proxy
	// Local is set for a drain that is not reached over a network; Proxy is nil then.
	Local *Local
	// Received is everything that the drain holds since it was opened, in the order of arrival. It
	// waits until there are at least want records, and fails the test when they do not come.
	Received func(t *testing.T, want int) []Got
	// Bytes means that the drain holds the exact bytes, and not only the safe text.
	Bytes bool
	// Deduplicates means that the drain keeps one copy of a record that arrives twice.
	Deduplicates bool
	// Requests means that the sink sends many records in a request of some hundred KiB, which the
	// drain answers.
	Requests bool
	// Concurrent means that several goroutines may call Write at a time.
	Concurrent bool
}

// Local describes a drain that is not reached over a network. The checks of a drain that hangs or
// fails during a Write do not run: the sink's own tests have to cover such faults.
type Local struct {
	// Break makes the drain unusable, until Mend.
	Break, Mend func()
	// Verdict is that of writing to a broken drain.
	Verdict sinks.Verdict
	// Step is the step that fails in the check of a broken drain, the first of two.
	Step string
}

const (
	// patience bounds everything that should happen at once: what takes longer hangs.
	patience = 3 * time.Minute
	// large is more records than any sink puts into one request.
	large = 20_000
)

// Run tests that a sink fulfils the contract of [sinks.Sink]. open makes a sink and a drain for
// each check; it registers the drain's end with t.Cleanup. With -short, the largest batch is
// smaller.
func Run(t *testing.T, open func(t *testing.T) Target) {
	for _, check := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"delivers", (*suite).testDelivers},
		{"repeat has the same identity", (*suite).testRepeat},
		{"empty batch", (*suite).testEmpty},
		{"large batch", (*suite).testLarge},
		{"batch stays the caller's", (*suite).testOwnership},
		{"several writes at a time", (*suite).testConcurrent},
		{"cancel", (*suite).testCancel},
		{"drain goes away between writes", (*suite).testGone},
		{"drain goes away during a write", (*suite).testBroken},
		{"drain cuts large requests", (*suite).testCutLarge},
		{"probe", (*suite).testProbe},
		{"steps of a probe", (*suite).testStepsOfProbe},
		{"steps of a write", (*suite).testStepsOfWrite},
		{"steps to a drain that is not there", (*suite).testStepsToNothing},
		{"close", (*suite).testClose},
		{"close after a cancel", (*suite).testCloseAfterCancel},
	} {
		t.Run(check.name, func(t *testing.T) {
			target := open(t)
			if target.Sink == nil || (target.Proxy == nil) == (target.Local == nil) || target.Received == nil {
				t.Fatal("a Target needs Sink, Received, and one of Proxy and Local")
			}
			seed := rand.Uint64()
			t.Logf("seed of the entries: %d", seed)
			s := &suite{Target: target, random: rand.New(rand.NewPCG(seed, 0))}
			t.Cleanup(func() {
				if s.closed {
					return
				}
				if err := target.Sink.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			check.run(s, t)
		})
	}
}

type suite struct {
	Target
	random *rand.Rand
	closed bool
}

// needsProxy skips a check that a local drain cannot run.
func (s *suite) needsProxy(t *testing.T) {
	t.Helper()
	if s.Proxy == nil {
		t.Skip("no network leads to the drain")
	}
}

// cut makes the drain unusable, until mend.
func (s *suite) cut() {
	if s.Local != nil {
		s.Local.Break()
		return
	}
	s.Proxy.Cut()
}

func (s *suite) mend(t *testing.T) {
	t.Helper()
	if s.Local != nil {
		s.Local.Mend()
		return
	}
	s.Proxy.Mend(t)
}

// gone returns the verdict of writing to a drain that was cut.
func (s *suite) gone() sinks.Verdict {
	if s.Local != nil {
		return s.Local.Verdict
	}
	return sinks.Retry
}

func (s *suite) entries(n int) []sinks.Entry { return Entries(s.random.Uint64(), n) }

func (s *suite) testDelivers(t *testing.T) {
	batch := s.entries(400)
	want := expected(batch)
	s.write(t, batch)
	s.holds(t, want, 1)

	// A second batch goes on where the first stopped: the order holds over batches.
	next := s.entries(300)
	s.write(t, next[:120])
	s.write(t, next[120:121])
	s.write(t, next[121:])
	s.holds(t, append(want, expected(next)...), 1)
}

func (s *suite) testRepeat(t *testing.T) {
	batch := s.entries(50)
	want := expected(batch)
	s.write(t, batch)
	s.write(t, batch)
	s.holds(t, want, 2)
}

func (s *suite) testEmpty(t *testing.T) {
	s.write(t, nil)
	s.write(t, []sinks.Entry{})
	batch := s.entries(3)
	s.write(t, batch)
	s.holds(t, expected(batch), 1)
}

func (s *suite) testLarge(t *testing.T) {
	n := large
	if testing.Short() {
		n = large / 10
	}
	batch := s.entries(n)
	s.write(t, batch)
	s.holds(t, expected(batch), 1)
}

// testConcurrent has several goroutines write, each the batches of operations of its own.
func (s *suite) testConcurrent(t *testing.T) {
	if !s.Concurrent { // as its contract says: syslog has one connection, whose messages are numbered
		t.Skip("the sink takes one write at a time")
	}
	const writers, batches, records = 6, 5, 200
	var want []Got
	var all sync.WaitGroup
	for range writers {
		entries := s.entries(batches * records)
		want = append(want, expected(entries)...)
		all.Go(func() {
			for batch := range slices.Chunk(entries, records) {
				if err := s.Sink.Write(t.Context(), batch); err != nil {
					t.Errorf("Write beside others: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	if !t.Failed() {
		s.holds(t, want, 1)
	}
}

func (s *suite) testOwnership(t *testing.T) {
	first, second := s.entries(300), s.entries(300)
	want := append(expected(first), expected(second)...)
	for _, batch := range [][]sinks.Entry{first, second} {
		before := fingerprint(batch)
		s.write(t, batch)
		if fingerprint(batch) != before {
			t.Fatal("Write changed the batch")
		}
		scribble(batch)
	}
	s.holds(t, want, 1)
}

func (s *suite) testCancel(t *testing.T) {
	s.needsProxy(t)
	held := s.Proxy.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	batch := s.entries(large / 4)                    // more than the connection's buffers take
	go func() { done <- s.Sink.Write(ctx, batch) }() // ends with the cancel, or the test fails
	select {
	case <-held:
	case err := <-done:
		t.Fatalf("Write returned before anything reached the drain: %v", err)
	case <-time.After(patience):
		t.Fatal("Write sends nothing")
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Write returned %v, which is not context.Canceled", err)
		}
	case <-time.After(patience):
		t.Fatal("Write does not return when its context is cancelled")
	}

	// A context that is done already writes nothing.
	if err := s.Sink.Write(ctx, batch); !errors.Is(err, context.Canceled) {
		t.Fatalf("Write with a cancelled context returned %v, which is not context.Canceled", err)
	}

	s.Proxy.Mend(t)
	s.deliver(t, batch)
	s.holdsAtLeast(t, expected(batch))
}

func (s *suite) testGone(t *testing.T) {
	first, second := s.entries(30), s.entries(30)
	s.write(t, first)
	s.cut()
	s.writeFails(t, second)
	s.writeFails(t, second)
	s.mend(t)
	s.deliver(t, second)
	s.holdsAtLeast(t, append(expected(first), expected(second)...))
}

func (s *suite) testBroken(t *testing.T) {
	s.needsProxy(t)
	batch := s.entries(large / 4)
	held := s.Proxy.Stall()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { done <- s.Sink.Write(ctx, batch) }() // ends with the Cut, or at ctx's deadline
	select {
	case <-held:
	case err := <-done:
		t.Fatalf("Write returned before anything reached the drain: %v", err)
	}
	s.Proxy.Cut()
	checkRetry(t, <-done)
	s.Proxy.Mend(t)
	s.deliver(t, batch)
	s.holdsAtLeast(t, expected(batch))
}

// testCutLarge has a drain that breaks the connection while a large request is being sent, so that
// its response is not read: the error reports that the drain was reached, and a smaller request
// succeeds. A drain that does not listen was not reached.
func (s *suite) testCutLarge(t *testing.T) {
	s.needsProxy(t)
	if !s.Requests {
		t.Skip("no request of the sink is large, or it has no answer")
	}
	const limit = 96 << 10 // more than a handshake, and less than a large request
	fails := func(batch []sinks.Entry) *sinks.Error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := s.Sink.Write(ctx, batch)
		checkRetry(t, err)
		return sinks.AsError(err)
	}
	small, batch := s.entries(3), s.entries(large/4)
	s.Proxy.CutAfter(limit)
	for range 2 {
		if e := fails(batch); !e.Reached || !e.DependsOnContent() || e.TimedOut != 0 {
			t.Errorf("the error of a request that was cut does not say that the drain had it: %+v", e)
		}
	}
	s.deliver(t, small)
	s.Proxy.Cut()
	fails(small) // by a connection that was kept
	if e := fails(small); e.Reached || e.DependsOnContent() {
		t.Errorf("the error of a drain that is not there says that it had the request: %+v", e)
	}
	s.Proxy.CutAfter(0)
	s.Proxy.Mend(t)
	s.deliver(t, batch)
	s.holdsAtLeast(t, append(expected(small), expected(batch)...))
}

func (s *suite) testProbe(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Sink.Probe(ctx); err != nil {
		t.Fatalf("Probe of a good drain: %v", err)
	}
	if got := s.Received(t, 0); len(got) != 0 {
		t.Fatalf("Probe wrote %d records", len(got))
	}
	s.cut()
	err := s.Sink.Probe(ctx)
	var e *sinks.Error
	switch {
	case err == nil:
		t.Fatal("Probe of a drain that is not there succeeded")
	case !errors.As(err, &e):
		t.Fatalf("Probe of a drain that is not there returned a %T, want a *sinks.Error: %v", err, err)
	case e.Reason == "":
		t.Fatalf("Probe of a drain that is not there gave no Reason: %v", err)
	}
	s.mend(t)
	if s.Local != nil {
		s.testProbeCancelled(t)
		return
	}
	held := s.Proxy.Stall()
	done := make(chan error, 1)
	go func() { done <- s.Sink.Probe(ctx) }() // ends with the cancel, or the test fails
	select {
	case <-held:
	case err := <-done:
		t.Fatalf("Probe returned before anything reached the drain: %v", err)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Probe returned %v, which is not context.Canceled", err)
		}
	case <-time.After(patience):
		t.Fatal("Probe does not return when its context is cancelled")
	}
}

// testProbeCancelled probes with a context that is done.
func (s *suite) testProbeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sink.Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Probe returned %v, which is not context.Canceled", err)
	}
}

func (s *suite) testClose(t *testing.T) {
	watch := watchGoroutines(s.Sink)
	batch := s.entries(100)
	watch.do(func() {
		s.write(t, batch)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.Sink.Probe(ctx); err != nil {
			t.Errorf("Probe of a good drain: %v", err)
		}
		s.closed = true
		if err := s.Sink.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	s.holds(t, expected(batch), 1)
	watch.checkNone(t)
}

func (s *suite) testCloseAfterCancel(t *testing.T) {
	s.needsProxy(t)
	watch := watchGoroutines(s.Sink)
	first, second := s.entries(10), s.entries(large/4)
	watch.do(func() {
		s.write(t, first)
		ctx, cancel := context.WithCancel(t.Context())
		held := s.Proxy.Stall()
		go func() { // ends with held, or with the test
			select {
			case <-held:
			case <-t.Context().Done():
			}
			cancel()
		}()
		if err := s.Sink.Write(ctx, second); !errors.Is(err, context.Canceled) {
			t.Errorf("Write returned %v, which is not context.Canceled", err)
		}
		s.closed = true
		if err := s.Sink.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	// The drain still hangs: it is not its end that ends the goroutines.
	watch.checkNone(t)
}

// write delivers a batch to a drain that has no reason to refuse it.
func (s *suite) write(t *testing.T, batch []sinks.Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Sink.Write(ctx, batch); err != nil {
		t.Fatalf("Write of %d records: %v", len(batch), err)
	}
}

// deliver writes after a fault, as the pipeline does: a sink may find out only by a failed write
// that the connections which it kept are dead.
func (s *suite) deliver(t *testing.T, batch []sinks.Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	for range 10 {
		if err = s.Sink.Write(ctx, batch); err == nil {
			return
		}
		checkVerdict(t, err, s.gone())
	}
	t.Fatalf("Write goes on failing when the drain is back: %v", err)
}

func (s *suite) writeFails(t *testing.T, batch []sinks.Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	checkVerdict(t, s.Sink.Write(ctx, batch), s.gone())
}

func checkRetry(t *testing.T, err error) {
	t.Helper()
	checkVerdict(t, err, sinks.Retry)
}

// checkVerdict expects an error of a drain that is not there.
func checkVerdict(t *testing.T, err error, want sinks.Verdict) {
	t.Helper()
	if err == nil {
		t.Fatal("Write to a drain that is not there succeeded")
	}
	var e *sinks.Error
	if !errors.As(err, &e) {
		t.Fatalf("Write returned a %T, want a *sinks.Error: %v", err, err)
	}
	if e.Reason == "" {
		t.Fatalf("the error has no Reason: %v", err)
	}
	if e.Verdict != want {
		t.Fatalf("Verdict is %v, want %v: %v", e.Verdict, want, err)
	}
	last := -1
	for _, item := range e.Items {
		if item.Verdict != want || item.Index <= last {
			t.Fatalf("entry %d after %d has verdict %v: want ascending indexes and %v", item.Index, last, item.Verdict, want)
		}
		last = item.Index
	}
}

// holds fails the test unless the drain holds exactly these records, each as often as it was
// written, and those of each operation in their order.
func (s *suite) holds(t *testing.T, want []Got, times int) {
	t.Helper()
	if s.Deduplicates {
		times = 1
	}
	got := s.Received(t, len(want)*times)
	if len(got) != len(want)*times {
		t.Errorf("the drain holds %d records, want %d", len(got), len(want)*times)
	}
	seen := make(map[string]int)
	for _, g := range got {
		seen[g.identity()]++
	}
	for _, w := range want {
		if n := seen[w.identity()]; n != times {
			t.Fatalf("the drain holds record %s %d times, want %d", w.identity(), n, times)
		}
	}
	s.check(t, want, got)
}

// holdsAtLeast allows repeats, which a fault makes.
func (s *suite) holdsAtLeast(t *testing.T, want []Got) {
	t.Helper()
	// The drain may hold repeats of the first records before it has the last: ask until all are
	// there.
	missing := func(got []Got) (n int) {
		seen := make(map[string]bool)
		for _, g := range got {
			seen[g.identity()] = true
		}
		for _, w := range want {
			if !seen[w.identity()] {
				n++
			}
		}
		return n
	}
	got := s.Received(t, len(want))
	for n := missing(got); n > 0; n = missing(got) {
		got = s.Received(t, len(got)+n)
	}
	s.check(t, want, got)
}

// check compares what each operation's records are, in the order in which each arrived first.
func (s *suite) check(t *testing.T, want, got []Got) {
	t.Helper()
	first := make(map[string]Got)
	arrived := make(map[string][]Got)
	for _, g := range got {
		if before, ok := first[g.identity()]; !ok {
			first[g.identity()] = g
			arrived[g.OperationID] = append(arrived[g.OperationID], g)
		} else if !s.same(g, before) {
			t.Fatalf("the repeat of record %s differs: %q", g.identity(), g.Text)
		}
	}
	for _, w := range want {
		queue := arrived[w.OperationID]
		if len(queue) == 0 {
			t.Fatalf("record %s is missing", w.identity())
		}
		g := queue[0]
		arrived[w.OperationID] = queue[1:]
		if g.Sequence != w.Sequence {
			t.Fatalf("operation %s: record %d arrived where %d belongs", w.OperationID, g.Sequence, w.Sequence)
		}
		if !s.same(g, w) {
			t.Fatalf("record %s differs:\ngot  %s %q\n     log %q\nwant %s %q\n     log %q",
				w.identity(), g.Event, g.Text, g.Log, w.Event, w.Text, w.Log)
		}
	}
	for id, rest := range arrived {
		if len(rest) > 0 {
			t.Fatalf("operation %s: %d records that nobody wrote", id, len(rest))
		}
	}
}

func (s *suite) same(g, w Got) bool {
	return g.Event == w.Event && g.Text == w.Text && (!s.Bytes || bytes.Equal(g.Log, w.Log))
}
