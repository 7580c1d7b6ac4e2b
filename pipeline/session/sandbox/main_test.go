//go:build linux

package sandbox

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func TestMain(m *testing.M) {
	InitMain()
	if dir := os.Getenv("SANDBOX_TEST_GATEWAY"); dir != "" {
		gatewayMain(dir, os.Getenv("SANDBOX_TEST_NAMESPACES") != "")
		return
	}
	os.Exit(m.Run())
}

// A kind of runtime that this host supports.
type kind struct {
	name string
	most Capabilities
}

// kinds are those that differ for the user who runs the tests.
func kinds() []kind {
	all := []kind{
		{"namespaces", Capabilities{Namespaces: true, Memory: MemoryCgroup2}},
		{"user namespace", Capabilities{Namespaces: true, UserNamespace: true, Memory: MemoryCgroup2}},
		{"no namespaces", Capabilities{Memory: MemoryCgroup2}},
	}
	if os.Getuid() != 0 {
		return all[1:] // an ordinary user has the others with a user namespace, or not at all
	}
	return all
}

// missing skips, with a message, what this host cannot test, or fails if nothing may be skipped.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	message := fmt.Sprintf(format, args...)
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatal("NOT TESTED: " + message)
	}
	t.Skip("NOT TESTED: " + message)
}

// testUsers are the user IDs for sessions.
var testUsers = UserRange{Low: 300000, High: 365535}

// testFilters avoids compiling the same filters in every test.
var testFilters filters

func newTestRuntime(t *testing.T, most Capabilities) *Runtime {
	t.Helper()
	r, err := newRuntime(Options{Dir: t.TempDir(), Users: testUsers, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, most, &testFilters)
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

// line returns the Spec of a shell's command line without a terminal.
func line(commandLine string) session.Spec {
	return session.Spec{Name: "s-1", Command: []string{"/bin/bash"}, CommandLine: commandLine, Memory: 1 << 30}
}

// asGateway runs the session as the gateway's own user, which is never the default for root.
func asGateway(s session.Spec) session.Spec {
	s.Isolation.User = strconv.Itoa(os.Getuid())
	return s
}

// terminal returns the same with one.
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

func run(t *testing.T, r *Runtime, spec session.Spec) sessiontest.Result {
	t.Helper()
	p := start(t, r, spec)
	p.Stdin().Close()
	return sessiontest.Finish(t, p)
}

// expectOutput runs a command line that must print want and exit with 0.
func expectOutput(t *testing.T, r *Runtime, spec session.Spec, want string) {
	t.Helper()
	got := run(t, r, spec)
	if got.Stdout != want || got.Exit.Status != 0 {
		t.Errorf("%s\nprinted %q, %q on standard error, %+v\nwant    %q", spec.CommandLine, got.Stdout, got.Stderr, got.Exit, want)
	}
}

// sameForAll are the tests that do not depend on the gateway's user: input and output, and parsing.
const sameForAll = "^(TestConformance|TestManyAtOnceLeaveNothing|TestInheritedSignalsAreReset|TestEnvironmentOverridesDefaults|" +
	"TestModesReachTheTerminal|TestApplyModes|FuzzApplyModes|TestFindController|TestRequire|TestCoreDumped)$"

// TestAsOrdinaryUser runs the other tests of this package as an unprivileged user.
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
	visible, err := os.MkdirTemp("/var/lib", "ttydrain-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(visible)
	if err := os.Chmod(visible, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.timeout=10m", "-test.skip="+sameForAll)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "SANDBOX_TEST_VISIBLE="+visible)
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
