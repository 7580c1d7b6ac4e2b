//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
)

func TestCoreDumped(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.TrimSpace(string(pattern)) != "core" {
		missing(t, "the report of a core dump: this host's are not written to the working folder")
	}
	each(t, func(t *testing.T, r *Runtime) {
		got := run(t, r, line("ulimit -c unlimited || exit; kill -ABRT $$"))
		if got.Exit.Signal == "" {
			missing(t, "the report of a core dump: it is not allowed here")
		}
		if want := (session.Exit{Status: 134, Signal: "ABRT", CoreDumped: true}); got.Exit != want {
			t.Errorf("%+v, want %+v", got.Exit, want)
		}
	})
}

func TestCommandThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// In /tmp it would not be visible in a session.
	write := func(name, content string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", "x", 0o644)
	write("text", "neither a script nor a program", 0o755)
	write("orphan", "#!/no/such/interpreter\n", 0o755)
	each(t, func(t *testing.T, r *Runtime) {
		for _, tt := range []struct {
			command string
			says    []string
			inDir   bool
		}{
			{"no-such-program", []string{`"no-such-program"`, "no such program", "PATH (", "Install it"}, false},
			{"/no/such/program", []string{`"/no/such/program"`, "no such program"}, false},
			{"/usr", []string{`"/usr"`, "folder"}, false},
			{"/etc/passwd", []string{`"/etc/passwd"`, "chmod +x"}, false},
			{"plain", []string{"chmod +x"}, true},
			{"text", []string{"#!/bin/sh"}, true},
			{"orphan", []string{"interpreter"}, true},
		} {
			spec := session.Spec{Name: "s-1", Command: []string{tt.command}, Memory: 1 << 30}
			if tt.inDir {
				spec = asGateway(spec) // the directory is not accessible to another user
				if r.caps.Namespaces {
					spec.Root = dir
					spec.Command[0] = "/" + tt.command
				} else {
					spec.Command[0] = filepath.Join(dir, tt.command)
				}
			}
			_, err := r.Start(t.Context(), spec)
			sessiontest.ExpectRefusal(t, err, tt.says...)
		}
		_, err := r.Start(t.Context(), session.Spec{Name: "s-1"})
		sessiontest.ExpectRefusal(t, err, "no command")
		_, err = r.Start(t.Context(), session.Spec{Name: "s-1", Command: []string{"sh"}, CommandLine: "echo \x00"})
		sessiontest.ExpectRefusal(t, err, "NUL")
		for _, name := range []string{"", ".", "..", "a/b", strings.Repeat("a", 65)} {
			if _, err := r.Start(t.Context(), session.Spec{Name: name, Command: []string{"true"}}); err == nil {
				t.Errorf("the name %q was accepted", name)
			}
		}
		// The runtime still works.
		expectOutput(t, r, line("echo well"), "well\n")
	})
}

// A session that forks constantly is killed nevertheless.
func TestForkingDies(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		mark := sessiontest.Marker(4)
		p := start(t, r, line("f() { (f "+mark+") & }; echo running; g() { setsid bash -c 'bash \"$0\" "+mark+" </dev/null & exec true' /dev/null; }; while :; do sleep "+mark+" & g; done 2>/dev/null"))
		sessiontest.ReadUntil(t, p.Stdout(), "running")
		p.Kill()
		sessiontest.Finish(t, p)
		if left := sessiontest.Running(t, mark); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
}

// gatewayMain runs a gateway with a session, signals when the session runs, and waits to be killed.
func gatewayMain(dir string, namespaces bool) {
	r, err := newRuntime(Options{Dir: dir}, Capabilities{Namespaces: namespaces, Memory: MemoryCgroup2}, &testFilters)
	if err != nil {
		fmt.Println(err)
		return
	}
	mark := os.Getenv("SANDBOX_TEST_MARK")
	p, err := r.Start(context.Background(), terminal(sessiontest.Daemons(mark)+"sleep "+mark))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(os.Stdout, p.Stdout())
	p.Wait() // also keeps the process from being collected, which would end it
}

func TestKilledGatewayTakesItsSessions(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		dir, mark := t.TempDir(), sessiontest.Marker(5)
		gateway := exec.Command("/proc/self/exe")
		gateway.Env = append(os.Environ(), "SANDBOX_TEST_GATEWAY="+dir, "SANDBOX_TEST_MARK="+mark)
		if r.caps.Namespaces {
			gateway.Env = append(gateway.Env, "SANDBOX_TEST_NAMESPACES=1")
		}
		stdout, err := gateway.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := gateway.Start(); err != nil {
			t.Fatal(err)
		}
		sessiontest.ReadUntil(t, stdout, "running")
		if len(sessiontest.Running(t, mark)) == 0 {
			t.Error("the session does not run")
		}
		groups, _ := filepath.Glob(filepath.Join(dir, "run-*", "cgroup"))
		gateway.Process.Kill()
		gateway.Wait()
		waittest.Until(t, "the session's end", func() bool { return len(sessiontest.Running(t, mark)) == 0 })

		// The next gateway with the same directory removes what the killed one could not.
		var group []byte
		if len(groups) > 0 {
			if group, err = os.ReadFile(groups[0]); err != nil {
				t.Fatal(err)
			}
		}
		next, err := New(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(string(group)); len(group) > 0 && err == nil {
			t.Errorf("the control group %s is still there", group)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "run-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
}

// Two runtimes with the same directory do not affect each other.
func TestSweepSparesTheLiving(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	p := start(t, first, line("echo ready; read x; echo $x"))
	sessiontest.ReadUntil(t, p.Stdout(), "ready\n")
	second, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(p.Stdin(), "alive\n"); err != nil {
		t.Error(err)
	}
	if got := sessiontest.Finish(t, p); got.Stdout != "alive\n" {
		t.Errorf("%+v", got)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestManyAtOnceLeaveNothing(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		run(t, r, line("true")) // files that are opened only once
		descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				spec := line("echo $((6*7)); cat")
				if i%2 == 0 {
					spec = terminal("echo $((6*7)); read x; echo $x")
				}
				spec.Name = fmt.Sprintf("many-%d", i)
				p, err := r.Start(t.Context(), spec)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(p.Stdin(), "hello\n"); err != nil {
					t.Error(err)
				}
				p.Stdin().Close()
				if i%5 == 0 {
					p.Kill()
					sessiontest.Finish(t, p)
				} else if got := sessiontest.Finish(t, p); !strings.Contains(got.Stdout, "42") || !strings.Contains(got.Stdout, "hello") {
					t.Errorf("%d: %+v", i, got)
				}
			})
		}
		wg.Wait()
		for range 5 {
			s := line("")
			s.Command = []string{"no-such-program"}
			if _, err := r.Start(t.Context(), s); err == nil {
				t.Error("started")
			}
		}
		waittest.Until(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if now := openDescriptors(t); now > descriptors {
			t.Errorf("%d descriptors before, %d after", descriptors, now)
		}
		if r.cgroups != nil {
			for _, dir := range r.cgroups.dirs() {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e.IsDir() {
						t.Errorf("a control group is left: %s", e.Name())
					}
				}
			}
		}
	})
}

// Signal dispositions that the gateway inherited, as from nohup or a shell's background, do not
// apply to the session.
func TestInheritedSignalsAreReset(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_IGNORED") == "" {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		cmd := exec.Command("bash", "-c", `trap '' INT HUP TERM PIPE TSTP QUIT; exec /proc/self/fd/3 -test.run=^TestInheritedSignalsAreReset$`)
		cmd.ExtraFiles = []*os.File{self} // its path may not be accessible to this user
		cmd.Env = append(os.Environ(), "SANDBOX_TEST_IGNORED=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	each(t, func(t *testing.T, r *Runtime) {
		expectOutput(t, r, line("grep -E 'SigIgn|SigBlk' /proc/self/status"),
			"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")
	})
}
