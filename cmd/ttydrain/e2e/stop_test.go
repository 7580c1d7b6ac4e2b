package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// TestStop stops serve during a session, and starts it again.
func TestStop(t *testing.T) {
	t.Parallel()
	drains := threeDrains(t)
	site := newSite(t, entries(drains))
	v := site.serve()
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	shell.do("echo before the stop")
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	shown, _ := shell.wait()
	if !bytes.Contains(shown, []byte("\r\nttydrain: this gateway is being stopped, and has ended this session\r\n")) {
		t.Errorf("the person was not told: %q", shown)
	}
	first := operationOf(t, shown)
	for _, d := range drains {
		// No wait is needed: serve has delivered everything.
		s := transcriptOf(t, d.name, d.arrived(t, 0), first, true)
		mustBe(t, d.name, "the session that was stopped", s.shown, shown)
		if s.end.Reason != "shutdown" {
			t.Errorf("drain %s: the end has the reason %q", d.name, s.end.Reason)
		}
	}

	v = site.serve()
	got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo after the stop"))
	if got.status != 0 || got.stdout != "after the stop\n" {
		t.Errorf("after the second start: %+v", got)
	}
	second := operationOf(t, []byte(got.stderr))
	if number(t, second) <= number(t, first) {
		t.Errorf("operation %s comes after operation %s", second, first)
	}
	for _, d := range drains {
		s := d.transcript(t, second)
		mustBe(t, d.name, "the second session", s.stdout, []byte(got.stdout))
		// The first session is unchanged: nothing is added, and repeats are identical.
		mustBe(t, d.name, "the first session after the second start", d.transcript(t, first).shown, shown)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestKilled kills serve in the middle of a session's output: what the client showed is recorded,
// and the next start reports to the drains that the session was lost.
func TestKilled(t *testing.T) {
	t.Parallel()
	drains := threeDrains(t)
	site := newSite(t, entries(drains))
	v := site.serve()
	client := v.openssh(site.key, "web@127.0.0.1")
	client.Stderr = new(output) // the client prints a message of its own when its connection breaks
	shell := inTerminal(t, client)
	shell.expect(prompt)
	// A daemon that the session leaves, with an argument to recognize it.
	mark := fmt.Sprint(100000000 + os.Getpid())
	shell.do("setsid sleep " + mark + " &")
	await(t, "for the session's daemon", func() bool { return running(t, mark) })
	shell.press("seq -f %0200.0f 100000000\r")
	shell.expectBytes(100000)
	v.signal(syscall.SIGKILL)
	v.status()
	shown, _ := shell.wait()
	await(t, "for the session's processes to end", func() bool { return !running(t, mark) })

	v = site.serve()
	lost := operationOf(t, shown)
	for _, d := range drains {
		s := d.transcript(t, lost)
		if !bytes.HasPrefix(s.shown, shown) {
			mustBe(t, d.name, "what was shown before the kill", s.shown[:min(len(s.shown), len(shown))], shown)
		}
		if s.end.Reason != "gateway lost" || s.end.ExitStatus != nil {
			t.Errorf("drain %s: the end has the reason %q, exit status %v", d.name, s.end.Reason, s.end.ExitStatus)
		}
	}
	got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo again"))
	if next := operationOf(t, []byte(got.stderr)); number(t, next) <= number(t, lost) {
		t.Errorf("operation %s comes after operation %s", next, lost)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

func number(t testing.TB, operation string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(operation, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// running reports whether a process has the argument.
func running(t testing.TB, argument string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file) // a process that has just ended has none it has nothing
		if bytes.Contains(line, []byte("sleep\x00"+argument+"\x00")) {
			return true
		}
	}
	return false
}
