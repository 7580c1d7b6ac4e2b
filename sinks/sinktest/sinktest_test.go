package sinktest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// lineSink is the smallest sink that keeps the contract: a JSON object a line over TCP, and a line
// back for each batch. It breaks the contract in one way where fault is set.
type lineSink struct {
	address, fault string
	conn           net.Conn
	writes         int
	kept           []sinks.Entry
}

func (s *lineSink) Write(ctx context.Context, batch []sinks.Entry) (err error) {
	if s.fault == "leaks a goroutine" {
		go func() { select {} }()
	}
	if ctx.Err() != nil {
		return sinks.TransportError(ctx, "write", ctx.Err())
	}
	if s.conn == nil {
		ctx := s.trace(ctx)
		if s.conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", s.address); err != nil {
			return s.failed(ctx, err)
		}
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "anybody may write"})
	}
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	s.writes++
	var out bytes.Buffer
	textLost := false
	for _, e := range s.faulty(batch) {
		g := expected([]sinks.Entry{e})[0]
		switch {
		case s.fault == "changes the batch":
			e.Record.Text = append(e.Record.Text[:0:0], "changed"...)
		case s.fault == "loses bytes":
			g.Log = bytes.ToValidUTF8(g.Log, []byte("?"))
		case s.fault == "loses text" && !textLost && e.Record.Event == schema.EventOutput && g.Text != "":
			g.Text, textLost = "", true // of one record: an output record can be without text anyway
		case s.fault == "new identity on repeat":
			g.Sequence += uint64(s.writes - 1)
		}
		line, err := json.Marshal(g)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	out.WriteString("\n")
	_, err = s.conn.Write(out.Bytes())
	if err == nil {
		_, err = io.ReadFull(s.conn, make([]byte, 1))
	}
	if err != nil {
		if s.fault != "stays with a dead connection" {
			s.conn.Close()
			s.conn = nil
		}
		return s.failed(ctx, err)
	}
	return nil
}

func (s *lineSink) faulty(batch []sinks.Entry) []sinks.Entry {
	switch {
	case s.fault == "drops the last record" && len(batch) > 0:
		return batch[:len(batch)-1]
	case s.fault == "sends twice" && len(batch) > 0:
		return append(batch[:1:1], batch...)
	case s.fault == "reorders" && len(batch) > 2:
		var turned []sinks.Entry
		for _, e := range batch {
			turned = append([]sinks.Entry{e}, turned...)
		}
		return turned
	case s.fault == "caps a batch":
		return batch[:min(len(batch), 1000)]
	case s.fault == "keeps the batch" && len(batch) > 1:
		now := s.kept
		s.kept = batch
		return now
	default:
		return batch
	}
}

func (s *lineSink) failed(ctx context.Context, err error) error {
	e := sinks.TransportError(ctx, "write to "+s.address, err)
	switch s.fault {
	case "swallows errors":
		return nil
	case "returns its own errors":
		return err
	case "wrong verdict":
		e.Verdict = sinks.Rejected
	case "does not say what the drain had":
		e.Reached = false
	case "takes a refused connection for an answer":
		e.Reached = true
	case "no reason":
		e.Reason = ""
	case "hides the cancel":
		e.Err = errors.New("failed")
	}
	return e
}

// trace tells the steps, without which the suite must not pass.
func (s *lineSink) trace(ctx context.Context) context.Context {
	if s.fault == "tells no steps" {
		return ctx
	}
	return probe.From(ctx).Connect(ctx, s.address, false)
}

func (s *lineSink) Probe(ctx context.Context) error {
	if s.fault == "probe sees nothing" {
		return nil
	}
	ctx = s.trace(ctx)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return s.failed(ctx, err)
	}
	probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "anybody may write"})
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	ping := "\n"
	if s.fault == "probe writes" {
		ping = "{}\n\n"
	}
	if _, err = io.WriteString(conn, ping); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if err != nil {
		return s.failed(ctx, err)
	}
	return nil
}

func (s *lineSink) Close() error {
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

// openLines makes the sink and its drain.
func openLines(fault string) func(t *testing.T) Target {
	return func(t *testing.T) Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		d := &lineDrain{changed: make(chan struct{})}
		d.running.Go(func() { d.accept(l) }) // ends when the listener is closed
		proxy := NewProxy(t, l.Addr().String())
		t.Cleanup(func() {
			l.Close()
			proxy.Cut()
			d.running.Wait()
		})
		return Target{Sink: &lineSink{address: proxy.Address(), fault: fault}, Proxy: proxy, Received: d.received, Bytes: true, Requests: true}
	}
}

type lineDrain struct {
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	got     []Got
	changed chan struct{}
}

func (d *lineDrain) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		d.running.Go(func() { d.serve(conn) }) // ends when the sink or the proxy closes the connection
	}
}

func (d *lineDrain) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if len(line) == 1 {
			if _, err := conn.Write([]byte("k")); err != nil {
				return
			}
			continue
		}
		var g Got
		if json.Unmarshal(line, &g) != nil {
			return
		}
		d.mu.Lock()
		d.got = append(d.got, g)
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
	}
}

func (d *lineDrain) received(t *testing.T, want int) []Got {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		d.mu.Lock()
		got, changed := append([]Got(nil), d.got...), d.changed
		d.mu.Unlock()
		if len(got) >= want {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the drain holds %d records, want %d", len(got), want)
		}
	}
}

// faultVariable names the fault for a run of this test program in which the suite must fail.
const faultVariable = "TTYDRAIN_SINKTEST_FAULT"

func TestSuitePassesGoodSink(t *testing.T) { Run(t, openLines("")) }

// TestFaulty is run by TestSuiteFindsFaults.
func TestFaulty(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault == "" {
		t.Skip("is run by TestSuiteFindsFaults")
	}
	Run(t, openLines(fault))
}

func TestSuiteFindsFaults(t *testing.T) {
	for _, c := range []struct{ fault, check, message string }{
		{"drops the last record", "delivers", "the drain holds 399 records, want 400"},
		{"sends twice", "delivers", "2 times, want 1"},
		{"reorders", "delivers", "arrived where 1 belongs"},
		{"loses bytes", "delivers", "differs"},
		{"loses text", "delivers", "differs"},
		{"new identity on repeat", "repeat_has_the_same_identity", "1 times, want 2"},
		{"caps a batch", "large_batch", "the drain holds 1000 records"},
		{"changes the batch", "batch_stays_the_caller's", "Write changed the batch"},
		{"keeps the batch", "batch_stays_the_caller's", "holds 300 records, want 600"},
		{"hides the cancel", "cancel", "which is not context.Canceled"},
		{"swallows errors", "drain_goes_away_between_writes", "succeeded"},
		{"returns its own errors", "drain_goes_away_between_writes", "want a *sinks.Error"},
		{"no reason", "drain_goes_away_between_writes", "has no Reason"},
		{"wrong verdict", "drain_goes_away_during_a_write", "Verdict is rejected, want retry"},
		{"stays with a dead connection", "drain_goes_away_during_a_write", "goes on failing"},
		{"does not say what the drain had", "drain_cuts_large_requests", "does not say that the drain had it"},
		{"takes a refused connection for an answer", "drain_cuts_large_requests", "says that it had the request"},
		{"probe sees nothing", "probe", "succeeded"},
		{"probe writes", "probe", "Probe wrote 1 records"},
		{"tells no steps", "steps_of_a_write", "step TCP is"},
		{"leaks a goroutine", "close", "goroutines that Close left"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFaulty$/^"+c.check+"$", "-test.short")
			self.Env = append(os.Environ(), faultVariable+"="+c.fault)
			output, err := self.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes a sink that %s", c.fault)
			}
			if !strings.Contains(string(output), "--- FAIL: TestFaulty/"+c.check) || !strings.Contains(string(output), c.message) {
				t.Fatalf("the suite fails for another reason than %q:\n%s", c.message, output)
			}
		})
	}
}

// TestEntries holds what Entries promises.
func TestEntries(t *testing.T) {
	if fingerprint(Entries(1, 0)) != fingerprint(nil) {
		t.Error("Entries(1, 0) is not empty")
	}
	const n = 5000
	entries := Entries(42, n)
	if len(entries) != n {
		t.Fatalf("%d entries, want %d", len(entries), n)
	}
	type state struct {
		sequence, offset uint64
		log, text        bytes.Buffer
		ended            bool
	}
	states := make(map[string]*state)
	events := make(map[schema.Event]int)
	switches, last := 0, ""
	var all bytes.Buffer
	for _, e := range entries {
		s := states[e.Operation.ID]
		if s == nil {
			s = new(state)
			states[e.Operation.ID] = s
		}
		if e.Operation.ID != last {
			switches++
			last = e.Operation.ID
		}
		r := e.Record
		events[r.Event]++
		all.Write(r.Log)
		if r.Sequence != s.sequence+1 || r.Offset != s.offset || s.ended {
			t.Fatalf("record %d at %d after %d at %d (ended: %v)", r.Sequence, r.Offset, s.sequence, s.offset, s.ended)
		}
		s.sequence, s.offset, s.ended = r.Sequence, r.Offset+uint64(len(r.Log)), r.Event == schema.EventEnd
		s.log.Write(r.Log)
		s.text.Write(r.Text)
		s.text.WriteByte('\n')
		if r.Digest != sha256.Sum256(s.log.Bytes()) || r.TextDigest != sha256.Sum256(s.text.Bytes()) {
			t.Fatalf("record %d has a wrong digest", r.Sequence)
		}
		if len(r.Log) == PartialSize && !r.Partial {
			t.Fatalf("record %d is cut and not partial", r.Sequence)
		}
		if strings.ContainsAny(string(r.Text), "\x00\x1b\r\n\a\b\x7f\u0085") {
			t.Fatalf("record %d: text %q has control characters", r.Sequence, r.Text)
		}
	}
	for event := schema.EventOutput; event <= schema.EventGap; event++ {
		if events[event] == 0 {
			t.Errorf("no record of event %v", event)
		}
	}
	if len(states) != operations || switches < n/10 {
		t.Errorf("%d operations with %d switches between them", len(states), switches)
	}
	for _, s := range []string{"\x00", "\x1b[", "\xff", "🚀", "\u2028", `"`, "\\"} {
		if !strings.Contains(all.String(), s) {
			t.Errorf("no record has %q", s)
		}
	}
	again, other := Entries(42, n), Entries(43, n)
	for i := range again {
		if again[i].Record.Digest != entries[i].Record.Digest || again[i].Operation.ID != entries[i].Operation.ID {
			t.Fatal("the same seed gives other entries")
		}
		if states[other[i].Operation.ID] != nil {
			t.Fatal("another seed gives the same operations")
		}
	}
}
