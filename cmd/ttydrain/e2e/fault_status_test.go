package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/operate"
)

var dataStream = regexp.MustCompile(`data_stream: ([^,]+),`)

// A faultSession shows lines on request.
type faultSession struct {
	stdin  *io.PipeWriter
	stdout meter
	stderr watcher
	ended  chan struct{} // closed when it has ended
	err    error         // after ended
}

// A meter counts the lines that a client has displayed, and keeps them.
type meter struct {
	watcher
	lines atomic.Int64
	wrote chan struct{} // has one when there is news
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.watcher.Write(p)
	m.lines.Add(int64(bytes.Count(p, []byte("\n"))))
	select {
	case m.wrote <- struct{}{}:
	default:
	}
	return n, err
}

// load makes the session show a few lines at a time, as fast as they are displayed, until enough is
// closed. In the end there are at least faultLines.
func (s *faultSession) load(enough <-chan struct{}) {
	asked := int64(0)
	for more := int64(5); ; {
		fmt.Fprintln(s.stdin, more) // fails when the session has ended, and then ended is closed
		for asked += more; s.stdout.lines.Load() < asked; {
			select {
			case <-s.stdout.wrote:
			case <-s.ended:
				return
			}
		}
		select {
		case <-enough:
			if asked >= faultLines {
				return
			}
			more = faultLines - asked
		default:
		}
	}
}

// openFaultSession runs a command in a session without a terminal.
func (v *server) openFaultSession(command string) *faultSession {
	v.site.t.Helper()
	in, stdin := io.Pipe()
	s := &faultSession{stdin: stdin, stdout: meter{wrote: make(chan struct{}, 1)}, ended: make(chan struct{})}
	c := v.dial()
	go func() { // ends with the session, or with the test, which closes the connection
		status, err := c.Run(v.site.t.Context(), client.Session{Command: command, Stdin: in, Stdout: &s.stdout, Stderr: &s.stderr})
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d: %s", status, s.stderr.bytes())
		}
		in.CloseWithError(io.ErrClosedPipe) // the writer does not wait
		s.err = err
		close(s.ended)
	}()
	return s
}

// end ends the session's input, and waits for the session's end.
func (s *faultSession) end(t testing.TB) {
	t.Helper()
	s.stdin.Close()
	select {
	case <-s.ended:
		if s.err != nil {
			t.Fatal(s.err)
		}
	case <-time.After(patience):
		t.Fatalf("a session did not end within %s", patience)
	}
}

func (s *faultSession) operation(t testing.TB) string {
	t.Helper()
	return operationOf(t, s.stderr.bytes())
}

// A steadySession shows ten lines a second, which the good drain has to keep up with.
type steadySession struct {
	*faultSession
	enough  context.CancelFunc
	watched sync.WaitGroup
}

// openSteadySession opens one, and watches how many of its lines are missing at an inbox, until the
// session is ended.
func (v *server) openSteadySession(b *inbox) *steadySession {
	t := v.site.t
	t.Helper()
	s := &steadySession{faultSession: v.openFaultSession(`while read -r n; do echo "steady line $n ` + faultMark + `"; done`)}
	await(t, "for the steady session to begin", func() bool { return bytes.Contains(s.stderr.bytes(), []byte("operation ")) })
	operation := s.operation(t)
	ctx, enough := context.WithCancel(t.Context())
	s.enough = enough
	s.watched.Go(func() { // ends with end, or with the test
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		var arrived, most, read int64
		for n := 1; ; n++ {
			select {
			case <-pace.C:
			case <-ctx.Done():
				t.Logf("the good drain was up to %d lines behind, of %d", most, n)
				return
			}
			fmt.Fprintln(s.stdin, n)
			shown := s.stdout.lines.Load()
			lines, next := b.lines(operation, read)
			arrived, read = arrived+lines, next
			if most = max(most, shown-arrived); most > mostLag {
				t.Errorf("the good drain is %d lines of the steady session behind", most)
				return
			}
		}
	})
	t.Cleanup(func() {
		s.enough()
		s.watched.Wait()
	})
	return s
}

// end ends the session.
func (s *steadySession) end(t testing.TB) *faultSession {
	t.Helper()
	s.enough()
	s.watched.Wait()
	s.faultSession.end(t)
	return s.faultSession
}

// lines counts the lines of an operation among the records from one on, and returns the number of
// the next record.
func (b *inbox) lines(operation string, from int64) (lines, next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.received[from:] {
		if r := &b.received[from+int64(i)].Record; r.OperationID == operation && r.Event == "output" {
			lines += int64(strings.Count(r.Log, "\n"))
		}
	}
	return lines, int64(len(b.received))
}

// in returns the server for a subtest of the one that started it.
func (v *server) in(t testing.TB) *server {
	site, server := *v.site, *v
	site.t, server.site = t, &site
	return &server
}

// operate runs a command of operators, and decodes its JSON.
func (v *server) operate(args ...string) []byte {
	t := v.site.t
	t.Helper()
	args = append(args, "-c", v.site.config, "--admin", v.admin, "--output", "json")
	got := runTo(t, exec.Command(v.site.program, args...))
	if got.status != 0 {
		t.Fatalf("ttydrain %s: %+v", args, got)
	}
	return []byte(got.stdout)
}

// drainStatus returns the status of a drain in `ttydrain drains list`.
func (v *server) drainStatus(name string) operate.DrainStatus {
	t := v.site.t
	t.Helper()
	data := v.operate("drains", "list")
	mustNotLeak(t, "drains list", string(data))
	var list []operate.DrainStatus
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s operate.DrainStatus) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no drain %s in %s", name, data)
	}
	return list[i]
}

// awaitStatus waits until a drain has a status.
func (v *server) awaitStatus(d *destination, holds func(operate.DrainStatus) bool) {
	t := v.site.t
	t.Helper()
	var last operate.DrainStatus
	defer func() {
		if t.Failed() {
			t.Logf("drain %s: %+v", d.name, last)
		}
	}()
	await(t, "for the drain "+d.name+" to stand as it should", func() bool {
		last = v.drainStatus(d.name)
		return holds(last)
	})
}

// counter returns a metric of a drain.
func (v *server) counter(metric, drain string) float64 {
	t := v.site.t
	t.Helper()
	_, body := v.get("/metrics")
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), fmt.Sprintf("%s{drain=%q} ", metric, drain)); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s of the drain %s:\n%s", metric, drain, body)
	return 0
}

// deadLetters returns the records that a drain refused, by the commands of operators.
func (v *server) deadLetters(drain string) []record {
	t := v.site.t
	t.Helper()
	data := v.operate("deadletters", "list", "--drain", drain)
	mustNotLeak(t, "deadletters list", string(data))
	var letters []operate.Letter
	if err := json.Unmarshal(data, &letters); err != nil {
		t.Fatal(err)
	}
	var records []record
	for _, l := range letters {
		if l.Drain != drain || l.Status != 400 || !strings.Contains(l.Reason, "400 Bad Request") {
			t.Errorf("a dead letter of the drain %s: %+v", l.Drain, l)
		}
		var shown struct{ Record json.RawMessage }
		if err := json.Unmarshal(v.operate("deadletters", "show", strconv.FormatUint(l.Number, 10)), &shown); err != nil {
			t.Fatal(err)
		}
		r := record{Whole: string(shown.Record)}
		if err := json.Unmarshal(shown.Record, &r.Record); err != nil {
			t.Fatal(err)
		}
		r.Exact = r.Record.Exact()
		if !strings.HasPrefix(r.Text, "poison ") {
			t.Errorf("a record is a dead letter that the drain would have taken: %s", r.Whole)
		}
		records = append(records, r)
	}
	if n := v.counter("ttydrain_drain_records_dead_lettered_total", drain); int(n) != len(records) {
		t.Errorf("the metrics tell of %v dead letters, and there are %d", n, len(records))
	}
	return records
}

// mustBeInOrder checks that no record came before the one before it. letters are records that a
// drain did not accept.
func mustBeInOrder(t testing.TB, f fault, arrived, letters []record) {
	t.Helper()
	type identity struct {
		operation string
		sequence  uint64
	}
	refused := make(map[identity]bool)
	for _, l := range letters {
		refused[identity{l.OperationID, l.Sequence}] = true
	}
	last := make(map[string]uint64)
	for _, r := range arrived {
		if refused[identity{r.OperationID, r.Sequence}] {
			t.Fatalf("drain %s has a record that is a dead letter: %s", f.drain.name, r.Whole)
		}
		next := last[r.OperationID] + 1
		for refused[identity{r.OperationID, next}] {
			next++
		}
		switch {
		case r.Sequence > next:
			t.Fatalf("drain %s: operation %s: record %d came where %d was due", f.drain.name, r.OperationID, r.Sequence, next)
		case r.Sequence < next && f.once:
			t.Fatalf("drain %s: operation %s: record %d is there twice", f.drain.name, r.OperationID, r.Sequence)
		case r.Sequence == next:
			last[r.OperationID] = next
		}
	}
}

// mustNotLeak checks that a text has no output of sessions, and no secret.
func mustNotLeak(t testing.TB, what, text string) {
	t.Helper()
	for _, secret := range []string{faultMark, "poison", "a-token", "customer-token", "ApiKey"} {
		if strings.Contains(text, secret) {
			t.Fatalf("%s has %q in it: %.2000s", what, secret, text)
		}
	}
}
