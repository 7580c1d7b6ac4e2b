//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

func expectRefusal(t *testing.T, err error, parts ...string) {
	t.Helper()
	var refusal *session.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("the error is %v (%T), want a refusal", err, err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(refusal.Message, p) {
			t.Errorf("%q does not say %q", refusal.Message, p)
		}
	}
}

func TestExit(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		for _, tt := range []struct {
			commandLine string
			want        session.Exit
		}{
			{"exit 0", session.Exit{}},
			{"exit 7", session.Exit{Status: 7}},
			{"exit 255", session.Exit{Status: 255}},
			{"exit 143", session.Exit{Status: 143}}, // and no signal
			{"no-such-program", session.Exit{Status: 127}},
			{"kill -TERM $$", session.Exit{Status: 143, Signal: "TERM"}},
			{"kill -KILL $$", session.Exit{Status: 137, Signal: "KILL"}},
			{"ulimit -c 0; kill -SEGV $$", session.Exit{Status: 139, Signal: "SEGV"}},
			{"kill -36 $$", session.Exit{Status: 164, Signal: "RT36"}},
		} {
			for _, spec := range []session.Spec{line(tt.commandLine), terminal(tt.commandLine)} {
				if got := run(t, r, spec); got.exit != tt.want {
					t.Errorf("%s: %+v, want %+v (%s%s)", tt.commandLine, got.exit, tt.want, got.stdout, got.stderr)
				}
			}
		}
	})
}

func TestCoreDumped(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.TrimSpace(string(pattern)) != "core" {
		missing(t, "the report of a core dump: this host's are not written to the working folder")
	}
	each(t, func(t *testing.T, r *Runtime) {
		got := run(t, r, line("ulimit -c unlimited || exit; kill -ABRT $$"))
		if got.exit.Signal == "" {
			missing(t, "the report of a core dump: it is not allowed here")
		}
		if want := (session.Exit{Status: 134, Signal: "ABRT", CoreDumped: true}); got.exit != want {
			t.Errorf("%+v, want %+v", got.exit, want)
		}
	})
}

func TestCommandThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// In /tmp it would be out of a session's sight.
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
				spec = asGateway(spec) // the folder is out of another user's reach
				if r.caps.Namespaces {
					spec.Root = dir
					spec.Command[0] = "/" + tt.command
				} else {
					spec.Command[0] = filepath.Join(dir, tt.command)
				}
			}
			_, err := r.Start(t.Context(), spec)
			expectRefusal(t, err, tt.says...)
		}
		_, err := r.Start(t.Context(), session.Spec{Name: "s-1"})
		expectRefusal(t, err, "no command")
		_, err = r.Start(t.Context(), session.Spec{Name: "s-1", Command: []string{"sh"}, CommandLine: "echo \x00"})
		expectRefusal(t, err, "NUL")
		for _, name := range []string{"", ".", "..", "a/b", strings.Repeat("a", 65)} {
			if _, err := r.Start(t.Context(), session.Spec{Name: name, Command: []string{"true"}}); err == nil {
				t.Errorf("the name %q was taken", name)
			}
		}
		// And the runtime still works.
		expectOutput(t, r, line("echo well"), "well\n")
	})
}

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

func TestDaemonsDie(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		for i, make := range []func(string) session.Spec{line, terminal} {
			mark := marker(2 + i)
			for _, tt := range []struct {
				how, after string
				end        func(session.Process)
			}{
				{"killed", "sleep " + mark, session.Process.Kill},
				{"exited", "exit 3", func(session.Process) {}},
				{"killed by a signal", "kill -KILL $$", func(session.Process) {}},
			} {
				p := start(t, r, make(daemons(mark)+tt.after))
				readUntil(t, p.Stdout(), "running")
				tt.end(p)
				got := finish(t, p)
				if left := running(t, mark); len(left) > 0 {
					t.Errorf("%s: still running: %v", tt.how, left)
				}
				if want := (session.Exit{Status: 3}); tt.how == "exited" && got.exit != want {
					t.Errorf("%s: %+v", tt.how, got.exit)
				}
				if want := (session.Exit{Status: 137, Signal: "KILL"}); tt.how != "exited" && got.exit != want {
					t.Errorf("%s: %+v", tt.how, got.exit)
				}
				p.Kill() // any number of times
			}
		}
	})
}

// A session that forks all the time is killed all the same.
func TestForkingDies(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		mark := marker(4)
		p := start(t, r, line("f() { (f "+mark+") & }; echo running; g() { setsid bash -c 'bash \"$0\" "+mark+" </dev/null & exec true' /dev/null; }; while :; do sleep "+mark+" & g; done 2>/dev/null"))
		readUntil(t, p.Stdout(), "running")
		p.Kill()
		finish(t, p)
		if left := running(t, mark); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
}

// gatewayMain is a gateway with a session, which says when that runs, and waits to be killed.
func gatewayMain(dir string, namespaces bool) {
	r, err := newRuntime(Options{Dir: dir}, Capabilities{Namespaces: namespaces, Memory: MemoryCgroup2}, &testFilters)
	if err != nil {
		fmt.Println(err)
		return
	}
	mark := os.Getenv("SANDBOX_TEST_MARK")
	p, err := r.Start(context.Background(), terminal(daemons(mark)+"sleep "+mark))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(os.Stdout, p.Stdout())
}

func TestKilledGatewayTakesItsSessions(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		dir, mark := t.TempDir(), marker(5)
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
		readUntil(t, stdout, "running")
		if len(running(t, mark)) == 0 {
			t.Error("the session does not run")
		}
		groups, _ := filepath.Glob(filepath.Join(dir, "run-*", "cgroup"))
		gateway.Process.Kill()
		gateway.Wait()
		await(t, "the session's end", func() bool { return len(running(t, mark)) == 0 })

		// The next one on the same folder removes what the dead one could not.
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

// Two runtimes on one folder leave each other alone.
func TestSweepSparesTheLiving(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	p := start(t, first, line("echo ready; read x; echo $x"))
	readUntil(t, p.Stdout(), "ready\n")
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
	if got := finish(t, p); got.stdout != "alive\n" {
		t.Errorf("%+v", got)
	}
}

func TestLastOutputIsNeverLost(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		const n = 200
		for i := range n {
			// More than a terminal's buffer holds, and the last of it immediately before the end.
			want := strings.Repeat("0123456789abcdef", 600) + fmt.Sprintf("last-%d", i)
			spec := line("")
			if i%2 == 0 {
				spec = terminal("")
			}
			spec.Command = []string{"/bin/echo", "-n", want}
			if got := run(t, r, spec); got.stdout != want {
				t.Fatalf("round %d: %d bytes of %d", i, len(got.stdout), len(want))
			}
		}
	})
}

// The terminal holds what was written when everything is dead and nobody has read it yet.
func TestOutputCanBeReadAfterWait(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		for _, spec := range []session.Spec{line("echo -n here"), terminal("echo -n here")} {
			p := start(t, r, spec)
			if _, err := p.Wait(); err != nil {
				t.Error(err)
			}
			p.Kill()
			for _, want := range []string{"here", ""} { // and the end, as often as asked
				if got, err := io.ReadAll(p.Stdout()); err != nil || string(got) != want {
					t.Errorf("%q %v", got, err)
				}
			}
			if p.Stderr() != nil {
				io.Copy(io.Discard, p.Stderr())
			}
		}
	})
}

func TestPipesAreApartAndExact(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		data := make([]byte, 5<<20)
		for i := range data {
			data[i] = byte(i*i>>3 + i)
		}
		p := start(t, r, line("tee /proc/self/fd/2; echo done >&2"))
		go func() { // ends when all is written
			defer p.Stdin().Close()
			if _, err := p.Stdin().Write(data); err != nil {
				t.Error(err)
			}
		}()
		got := finish(t, p)
		if got.stdout != string(data) {
			t.Errorf("standard output has %d bytes", len(got.stdout))
		}
		if got.stderr != string(data)+"done\n" {
			t.Errorf("standard error has %d bytes", len(got.stderr))
		}
	})
}

func TestCancelledStart(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		mark, cause := marker(6), errors.New("thought better of it")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := r.Start(ctx, line("sleep "+mark)); !errors.Is(err, cause) {
			t.Errorf("cancelled before: %v", err)
		}
		// Cancelled at some moment or other: either it does not run, or it does and is ours to end.
		started := 0
		for i := range 40 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i)*time.Millisecond, cause)
			p, err := r.Start(ctx, line("sleep "+mark))
			cancel()
			if err == nil {
				started++
				p.Kill()
				finish(t, p)
			} else if !errors.Is(err, cause) {
				t.Error(err)
			}
			if left := running(t, mark); len(left) > 0 {
				t.Fatalf("runs: %v", left)
			}
		}
		t.Logf("%d of 40 had started", started)
	})
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
		run(t, r, line("true")) // whatever is opened once and for all
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
					finish(t, p)
				} else if got := finish(t, p); !strings.Contains(got.stdout, "42") || !strings.Contains(got.stdout, "hello") {
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
		await(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if now := openDescriptors(t); now > descriptors {
			t.Errorf("%d descriptors before, %d after", descriptors, now)
		}
		if r.cgroups != nil {
			entries, err := os.ReadDir(r.cgroups.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() {
					t.Errorf("a control group is left: %s", e.Name())
				}
			}
		}
	})
}

func TestSignalWithoutTerminal(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		p := start(t, r, line(`trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.01; done`))
		readUntil(t, p.Stdout(), "ready")
		if err := p.Signal("NONE"); err == nil {
			t.Error("an unknown signal was taken")
		}
		if err := p.Signal("USR1"); err != nil {
			t.Error(err)
		}
		if got := finish(t, p); got.stdout != "\nusr1\n" && got.stdout != "usr1\n" || got.exit.Status != 4 {
			t.Errorf("%+v", got)
		}
		if err := p.Signal("TERM"); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// What the gateway was started with, such as nohup or a shell's background, is not the session's.
func TestInheritedSignalsAreReset(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_IGNORED") == "" {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		cmd := exec.Command("bash", "-c", `trap '' INT HUP TERM PIPE TSTP QUIT; exec /proc/self/fd/3 -test.run=^TestInheritedSignalsAreReset$`)
		cmd.ExtraFiles = []*os.File{self} // by path it may be out of reach for this user
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
