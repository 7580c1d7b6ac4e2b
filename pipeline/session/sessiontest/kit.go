package sessiontest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// patience is how long a session of a test may last. It is long, since nothing is measured by it.
const patience = 2 * time.Minute

// A kit is a runtime under test, and what tests do with it.
type kit struct {
	Subject
	runtime session.Runtime
}

// line is a Spec of a shell's command line without a terminal.
func (k *kit) line(commandLine string) session.Spec {
	return session.Spec{Name: "s-1", Operation: "1", App: "web", Command: []string{"/bin/bash"}, CommandLine: commandLine, Memory: 1 << 30, Container: k.Container}
}

// terminal is the same with one.
func (k *kit) terminal(commandLine string) session.Spec {
	s := k.line(commandLine)
	s.Terminal = &session.Terminal{Name: "xterm-256color", Size: session.Size{Width: 91, Height: 37}}
	return s
}

func (k *kit) start(t *testing.T, spec session.Spec) session.Process {
	t.Helper()
	p, err := k.runtime.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(patience, p.Kill) // and the test goes on, and fails
	t.Cleanup(func() { hung.Stop() })
	return p
}

// runtimeError is why a session can't be started.
func (k *kit) runtimeError(spec session.Spec) error {
	p, err := k.runtime.Start(context.Background(), spec)
	if err == nil {
		p.Kill()
		p.Wait()
	}
	return err
}

// press writes to a session what a person types.
func (k *kit) press(t *testing.T, p session.Process, keys string) {
	t.Helper()
	if _, err := io.WriteString(p.Stdin(), keys); err != nil {
		t.Error(err)
	}
}

type result struct {
	stdout, stderr string
	exit           session.Exit
}

// finish reads all output and waits.
func finish(t *testing.T, p session.Process) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var readers sync.WaitGroup
	for _, o := range []struct {
		to   *bytes.Buffer
		from io.Reader
	}{{&stdout, p.Stdout()}, {&stderr, p.Stderr()}} {
		if o.from != nil {
			readers.Go(func() { // ends with the session
				if _, err := io.Copy(o.to, o.from); err != nil {
					t.Errorf("reading output: %v", err)
				}
			})
		}
	}
	exit, err := p.Wait()
	if err != nil {
		t.Errorf("Wait: %v", err)
	}
	readers.Wait()
	return result{stdout.String(), stderr.String(), exit}
}

func (k *kit) run(t *testing.T, spec session.Spec) result {
	t.Helper()
	p := k.start(t, spec)
	p.Stdin().Close()
	return finish(t, p)
}

// expect runs a command that must print this, and exit with 0.
func (k *kit) expect(t *testing.T, spec session.Spec, want string) {
	t.Helper()
	got := k.run(t, spec)
	if got.stdout != want || got.exit.Status != 0 {
		t.Errorf("%s\nprinted %q, %q on standard error, %+v\nwant    %q", spec.CommandLine, got.stdout, got.stderr, got.exit, want)
	}
}

// readUntil reads output until it has the text.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var got []byte
	one := make([]byte, 1) // and nothing behind it
	for !bytes.HasSuffix(got, []byte(text)) {
		n, err := r.Read(one)
		got = append(got, one[:n]...)
		if err != nil {
			t.Fatalf("output ended (%v) with %q, before %q", err, got, text)
		}
	}
	return string(got)
}

// marker is an argument by which the host can find a session's processes: a number of seconds that
// nobody else sleeps.
func marker(n int) string { return fmt.Sprintf("%d", 8000000+os.Getpid()*10+n) }

// daemons is a command line that leaves processes behind in every way there is, and says when they run.
func daemons(mark string) string {
	return strings.ReplaceAll(`
		sleep M &
		setsid sleep M >/dev/null 2>&1 </dev/null &
		(setsid sh -c 'trap "" HUP TERM INT; (sleep M; sleep M) & (sleep M &) & wait' & ) &
		nohup sleep M >/dev/null 2>&1 &
		(exec setsid sh -c 'kill -STOP $$; sleep M' M M) &
		while [ $(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -cx M) -lt 7 ]; do sleep 0.01; done
		echo running
	`, "M", mark)
}

// running are the processes on this host with the marker as an argument.
func running(t *testing.T, marker string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		args, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && bytes.Contains(append([]byte{0}, args...), []byte("\x00"+marker+"\x00")) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

// cancelAfter is a context that is cancelled after a while.
func cancelAfter(t *testing.T, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(t.Context(), d, cause)
}
