package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// A worker is a session with a terminal in which a line is typed from time to time.
type worker struct {
	watcher
	stdin  *io.PipeWriter
	ended  chan struct{} // closed when the session is over
	status int           // after ended
	err    error         // after ended
	lines  int           // that were typed
}

// openWorker opens a session that shows every line that is typed.
func (v *server) openWorker(clients *sync.WaitGroup) *worker {
	v.site.t.Helper()
	in, stdin := io.Pipe()
	p := &worker{stdin: stdin, ended: make(chan struct{})}
	c := v.dial()
	clients.Go(func() { // ends with the session
		p.status, p.err = c.Run(v.site.t.Context(), client.Session{
			Command: `stty -echo; while read -r line; do echo "typed: $line"; done`, Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}},
			Stdin: in, Stdout: p, Stderr: p,
		})
		in.CloseWithError(io.ErrClosedPipe) // the writer does not wait
		close(p.ended)
	})
	return p
}

// types types a line, and waits until it is shown.
func (p *worker) types(t testing.TB) {
	t.Helper()
	p.lines++
	line := fmt.Sprintf("line %d", p.lines)
	fmt.Fprintln(p.stdin, line)
	await(t, "for a line to be shown, "+line, func() bool {
		select {
		case <-p.ended:
			b := p.bytes()
			t.Fatalf("a session was ended while another one filled the store: %d, %v, %q", p.status, p.err, b[max(0, len(b)-300):])
		default:
		}
		return bytes.Contains(p.bytes(), []byte("typed: "+line+"\r\n"))
	})
}

// floodSite returns a site with the smallest store, in which sessions have no limit of output.
func floodSite(t *testing.T, options ...siteOption) *site {
	t.Helper()
	s := newSite(t, append(options, withoutRaces)...)
	const fast = "{rate: 1GiB, burst: 1GiB}"
	s.edit("store: ./data\n", "store: ./data\nstreams: {max_bytes: 64MB}\n")
	s.edit("plan: growth", "plan: scale, limits: {session: "+fast+", user: "+fast+", stack: "+fast+"}")
	return s
}

// flood shows so many MB in lines of 4,000 bytes.
func flood(megabytes int) string {
	return fmt.Sprintf(`head -c %dMB /dev/zero | tr '\0' x | fold -w 3999`, megabytes)
}

// TestFlood has one session show more than the streams can hold, while others work: the streams
// remove delivered records, no session is ended or refused, and the drains get everything.
func TestFlood(t *testing.T) {
	t.Parallel()
	drains := []*destination{httpsDrain(t, "one", ", format: ndjson"), httpsDrain(t, "two", ", format: ndjson")}
	s := floodSite(t, entries(drains))
	v := s.serve()
	var clients sync.WaitGroup
	var people []*worker
	for range 10 {
		people = append(people, v.openWorker(&clients))
	}
	for _, p := range people {
		p.types(t)
	}
	ctx, done := context.WithCancel(t.Context())
	flooding := v.openFaultSession(flood(70))
	var watching sync.WaitGroup
	watching.Go(func() { // ends with the flood
		for ctx.Err() == nil {
			if status, body := v.get("/readyz"); status != http.StatusOK {
				t.Errorf("/readyz while a session shows a lot: %d %s", status, body)
				return
			}
		}
	})
	fresh := 0
	for over := false; !over; {
		select {
		case <-flooding.ended:
			over = true
		default:
		}
		for _, p := range people {
			p.types(t)
		}
		if got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo new")); got.status != 0 || got.stdout != "new\n" {
			t.Fatalf("a new session while another shows a lot: %+v", got)
		}
		fresh++
	}
	done()
	watching.Wait()
	if flooding.err != nil || flooding.stdout.len() < 70e6 {
		t.Fatalf("the session that shows a lot: %v, %d bytes, %s", flooding.err, flooding.stdout.len(), flooding.stderr.bytes())
	}
	t.Logf("%d sessions were started meanwhile", fresh)
	for _, p := range people {
		p.types(t)
		fmt.Fprint(p.stdin, "\x04") // end of input
	}
	clients.Wait()
	for _, d := range drains {
		operation := flooding.operation(t)
		d.awaitEnds(t, operation)
		if got := d.transcript(t, operation); got.end.Reason != "exit" || !bytes.Equal(got.stdout, flooding.stdout.bytes()) {
			t.Errorf("drain %s has %d bytes of the flood, which ended with %q", d.name, len(got.stdout), got.end.Reason)
		}
		for _, p := range people {
			operation := operationOf(t, p.bytes())
			d.awaitEnds(t, operation)
			mustBe(t, d.name, "operation "+operation, d.transcript(t, operation).stdout, p.bytes())
		}
	}
	if _, metrics := v.get("/metrics"); bytes.Contains(metrics, []byte(`ttydrain_stream_purges_total{stream="TTY"} 0`)) {
		t.Errorf("nothing was removed from a stream that had no room for it all:\n%s", metrics)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestFloodWithoutDrain has sessions show more than the streams can hold while a drain is down, so
// that nothing is removed: the sessions with much output are ended, others go on, and new ones are
// refused once only the reserve is left. When the drain is up, everything goes on, and the drains
// get everything.
func TestFloodWithoutDrain(t *testing.T) {
	t.Parallel()
	up := httpsDrain(t, "up", ", format: ndjson")
	down, start := laterHTTPSDrain(t, "down", porttest.Reserve(t), t.TempDir(), ", format: ndjson")
	s := floodSite(t, withDrains(up.entry, down.entry))
	v := s.serve()
	var clients sync.WaitGroup
	var people []*worker
	for range 10 {
		people = append(people, v.openWorker(&clients))
	}
	var floods []*faultSession
	unready := func() bool {
		status, body := v.get("/readyz")
		if status == http.StatusOK {
			return false
		}
		if !strings.Contains(string(body), "sessions can't be started: there is no space to record it: the stream TTY has ") {
			t.Fatalf("/readyz: %d %s", status, body)
		}
		return true
	}
	for refused := false; !refused && !unready(); {
		var round []*faultSession
		for range 16 {
			round = append(round, v.openFaultSession(flood(70)))
		}
		for _, f := range round {
			for over := false; !over; {
				select {
				case <-f.ended:
					over = true
				default:
				}
				for _, p := range people {
					p.types(t)
				}
				<-time.After(100 * time.Millisecond) // no user types faster for long
			}
			shown := string(f.stderr.bytes())
			if strings.Contains(shown, "was not started") {
				refused = true
				continue
			}
			if f.err != nil && !strings.HasSuffix(shown, strings.TrimPrefix(strings.ReplaceAll(noRoom, "\r", ""), "\n")) {
				t.Fatalf("a session that fills the store: %v, %s", f.err, shown)
			}
			floods = append(floods, f)
		}
	}
	t.Logf("%d sessions showed a lot until there was no room", len(floods))
	got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo never"))
	if got.status != 255 || !strings.Contains(got.stderr, "this session was not started: there is no room left to record it; its operators have to make room, then try again") {
		t.Fatalf("a new session with the reserve alone: %+v", got)
	}
	for range 20 {
		for _, p := range people {
			p.types(t)
		}
	}
	start()
	await(t, "for serve to be ready", func() bool { return !unready() })
	if got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo again")); got.status != 0 || got.stdout != "again\n" {
		t.Fatalf("a new session when the drain is up: %+v", got)
	}
	for _, p := range people {
		p.types(t)
		fmt.Fprint(p.stdin, "\x04") // end of input
	}
	clients.Wait()
	for _, d := range []*destination{up, down} {
		for _, p := range people {
			operation := operationOf(t, p.bytes())
			d.awaitEnds(t, operation)
			mustBe(t, d.name, "operation "+operation, d.transcript(t, operation).stdout, p.bytes())
		}
		for _, f := range floods {
			operation := f.operation(t)
			d.awaitEnds(t, operation)
			got := d.transcript(t, operation)
			if f.err == nil && got.end.Reason != "exit" || f.err != nil && got.end.Reason != "no room" {
				t.Errorf("drain %s: operation %s ended with %q", d.name, operation, got.end.Reason)
			}
			mustBegin(t, d.name, operation, got.stdout, f.stdout.bytes())
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestOutputLimit ends a session with more output than its user may have within a day, refuses the
// next one, and lets it start after the limit was raised.
func TestOutputLimit(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "siem", ", format: ndjson")
	s := newSite(t, entries([]*destination{d}))
	s.edit("plan: growth", "plan: growth, limits: {user: {bytes: 64KiB}}")
	v := s.serve()
	got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "head -c 1000000 /dev/zero | tr '\\0' x; sleep 60"))
	const sentence = "this session was ended: your sessions on the stack default have shown as much within a day as they may (64 KiB)"
	if got.status != 128+9 || !strings.HasSuffix(strings.TrimSpace(got.stderr), "ttydrain: "+sentence) {
		t.Fatalf("a session beyond the limit: %d, %s", got.status, got.stderr)
	}
	operation := operationOf(t, []byte(got.stderr))
	d.awaitEnds(t, operation)
	if shown := d.transcript(t, operation); shown.end.Reason != "output limit" || string(shown.stdout) != got.stdout || len(got.stdout) > 64<<10 {
		t.Errorf("the drain has %d bytes, the client %d; it ended with %q", len(shown.stdout), len(got.stdout), shown.end.Reason)
	}
	next := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo next"))
	if next.status != 255 || !strings.Contains(next.stderr, "your sessions on the stack default have shown as much within a day as they may (64 KiB), so this one was not started: try again at ") {
		t.Errorf("the next session: %+v", next)
	}
	s.edit("bytes: 64KiB", "bytes: 64MiB")
	await(t, "for the raised limit", func() bool {
		got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo more"))
		return got.status == 0 && got.stdout == "more\n"
	})
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
