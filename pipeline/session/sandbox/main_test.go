//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

func TestMain(m *testing.M) {
	InitMain()
	if dir := os.Getenv("SANDBOX_TEST_GATEWAY"); dir != "" {
		gatewayMain(dir, os.Getenv("SANDBOX_TEST_NAMESPACES") != "")
		return
	}
	os.Exit(m.Run())
}

// kinds are the runtimes that this host may have.
func kinds() []struct {
	name string
	most Capabilities
} {
	return []struct {
		name string
		most Capabilities
	}{
		{"namespaces", Capabilities{Namespaces: true, Memory: MemoryCgroup2}},
		{"user namespace", Capabilities{Namespaces: true, UserNamespace: true, Memory: MemoryCgroup2}},
		{"no namespaces", Capabilities{Memory: MemoryCgroup2}},
	}
}

// missing skips loudly what this host cannot test, or fails where nothing may be left out.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	message := fmt.Sprintf(format, args...)
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatal("NOT TESTED: " + message)
	}
	t.Skip("NOT TESTED: " + message)
}

// testFilters saves the tests the making of the same filters.
var testFilters filters

func newTestRuntime(t *testing.T, most Capabilities) *Runtime {
	t.Helper()
	r, err := newRuntime(Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, most, &testFilters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if most.UserNamespace && !r.caps.UserNamespace {
		missing(t, "user namespaces: %s", r.caps)
	}
	if most.Namespaces && !r.caps.Namespaces {
		missing(t, "namespaces: %s", r.caps)
	}
	return r
}

// each runs the test with every kind of runtime.
func each(t *testing.T, test func(t *testing.T, r *Runtime)) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) { test(t, newTestRuntime(t, k.most)) })
	}
}

// eachWithNamespaces runs the test with every kind that has namespaces.
func eachWithNamespaces(t *testing.T, test func(t *testing.T, r *Runtime)) {
	for _, k := range kinds() {
		if k.most.Namespaces {
			t.Run(k.name, func(t *testing.T) { test(t, newTestRuntime(t, k.most)) })
		}
	}
}

// line is a Spec of a shell's command line without a terminal.
func line(commandLine string) session.Spec {
	return session.Spec{Name: "s-1", Command: []string{"/bin/bash"}, CommandLine: commandLine, Memory: 1 << 30}
}

// asGateway has the session run as the gateway's own user, which is never the default of root's.
func asGateway(s session.Spec) session.Spec {
	s.Isolation.User = strconv.Itoa(os.Getuid())
	return s
}

// terminal is the same with one.
func terminal(commandLine string) session.Spec {
	s := line(commandLine)
	s.Terminal = &session.Terminal{Name: "xterm-256color", Size: session.Size{Width: 91, Height: 37}}
	return s
}

func start(t *testing.T, r *Runtime, spec session.Spec) session.Process {
	t.Helper()
	p, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type result struct {
	stdout, stderr string
	exit           session.Exit
}

// finish reads all output and waits.
func finish(t *testing.T, p session.Process) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var wg sync.WaitGroup
	for _, o := range []struct {
		to   *bytes.Buffer
		from io.Reader
	}{{&stdout, p.Stdout()}, {&stderr, p.Stderr()}} {
		if o.from != nil {
			wg.Go(func() { // ends with the session
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
	wg.Wait()
	return result{stdout.String(), stderr.String(), exit}
}

func run(t *testing.T, r *Runtime, spec session.Spec) result {
	t.Helper()
	p := start(t, r, spec)
	p.Stdin().Close()
	return finish(t, p)
}

// expectOutput runs a command line that must print this, and exit with 0.
func expectOutput(t *testing.T, r *Runtime, spec session.Spec, want string) {
	t.Helper()
	got := run(t, r, spec)
	if got.stdout != want || got.exit.Status != 0 {
		t.Errorf("%s\nprinted %q, %q on standard error, %+v\nwant    %q", spec.CommandLine, got.stdout, got.stderr, got.exit, want)
	}
}

// readUntil reads output until it has the text.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			t.Fatalf("output ended (%v) with %q, before %q", err, got, text)
		}
	}
	return string(got)
}

// marker is an argument by which the host can find a session's processes: a number of seconds that
// nobody else sleeps.
func marker(n int) string { return fmt.Sprintf("%d", 7000000+os.Getpid()*10+n) }

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

// await waits for something that the kernel does by itself and announces to nobody.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not happen: " + what)
		case <-ticker.C:
		}
	}
}

// TestAsOrdinaryUser runs all of this package's own other tests as a user without any privilege.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is no privileged user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		missing(t, "an ordinary user: %v", err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sandbox-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.timeout=4m", "-test.skip=^TestConformance$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = credential(uint32(uid))
	out, err := cmd.CombinedOutput()
	for l := range strings.Lines(string(out)) {
		if strings.Contains(l, "NOT TESTED") {
			t.Log("as nobody: ", strings.TrimSpace(l))
		}
	}
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}
