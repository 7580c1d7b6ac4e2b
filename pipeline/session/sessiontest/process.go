package sessiontest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Result is the output of a session, and how it ended.
type Result struct {
	Stdout, Stderr string
	Exit           session.Exit
	Err            error // why the end is unknown
}

// Collect reads the remaining output of a session and waits for its end.
func Collect(p session.Process) Result {
	var stdout, stderr bytes.Buffer
	var fromStdout, fromStderr error
	var readers sync.WaitGroup
	readers.Go(func() { _, fromStdout = io.Copy(&stdout, p.Stdout()) }) // both end with the session
	if from := p.Stderr(); from != nil {
		readers.Go(func() { _, fromStderr = io.Copy(&stderr, from) })
	}
	exit, err := p.Wait()
	readers.Wait()
	return Result{stdout.String(), stderr.String(), exit, errors.Join(err, fromStdout, fromStderr)}
}

// Finish is Collect for a session whose end must be known.
func Finish(t testing.TB, p session.Process) Result {
	t.Helper()
	r := Collect(p)
	if r.Err != nil {
		t.Errorf("the end of a session: %v", r.Err)
	}
	return r
}

// ReadUntil reads output up to and including the text.
func ReadUntil(t testing.TB, r io.Reader, text string) string {
	t.Helper()
	var got []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(got, []byte(text)) {
		n, err := r.Read(one)
		got = append(got, one[:n]...)
		if err != nil {
			t.Fatalf("output ended (%v) with %q, before %q", err, got, text)
		}
	}
	return string(got)
}

// ExpectRefusal checks that an error is a refusal whose message contains all parts.
func ExpectRefusal(t testing.TB, err error, parts ...string) {
	t.Helper()
	refusal, ok := errors.AsType[*session.Refusal](err)
	if !ok {
		t.Errorf("the error is %v (%T), want a refusal", err, err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(refusal.Message, p) {
			t.Errorf("%q does not say %q", refusal.Message, p)
		}
	}
}

// Marker returns an argument by which the host can find a session's processes: a number of seconds
// that no other process sleeps.
func Marker(n int) string { return fmt.Sprintf("%d", 8000000+os.Getpid()*10+n) }

// Daemons returns a command line that leaves processes behind in every possible way, and prints
// "running" when they run.
func Daemons(mark string) string {
	return strings.ReplaceAll(`
		sleep MARK &
		setsid sleep MARK >/dev/null 2>&1 </dev/null &
		(setsid sh -c 'trap "" HUP TERM INT; (sleep MARK; sleep MARK) & (sleep MARK &) & wait' & ) &
		nohup sleep MARK >/dev/null 2>&1 &
		(exec setsid sh -c 'kill -STOP $$; sleep MARK' MARK MARK) &
		while [ $(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -cx MARK) -lt 7 ]; do sleep 0.01; done
		echo running
	`, "MARK", mark)
}

// Running returns the processes on this host that have the marker as an argument.
func Running(t testing.TB, marker string) []string {
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
