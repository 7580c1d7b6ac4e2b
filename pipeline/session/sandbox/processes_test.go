//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
)

// forks starts up to n waiting processes or threads, prints how many were started, and then tries a
// command.
func forks(t *testing.T, n int, threads bool) session.Spec {
	one := "os.fork() or signal.pause()"
	if threads {
		one = "_thread.start_new_thread(signal.pause, ())"
	}
	return python(t, fmt.Sprintf(`
import signal, _thread, threading, time
threading.stack_size(65536)
started = 0
try:
    while started < %d:
        %s
        started += 1
except (OSError, RuntimeError):
    pass
os.write(1, b'%%d\n' %% started)
os.read(0, 1)
os._exit(0)
`, n, one))
}

// TestProcessesAreLimited: a session can have as many processes and threads as permitted, and no
// more, both with a control group and with a resource limit. The init survives the limit, and
// reports how the command ended.
func TestProcessesAreLimited(t *testing.T) {
	const pids = 100
	for _, memory := range []MemoryLimit{MemoryCgroup2, MemoryResourceLimit} { // with control groups, and without
		for _, k := range kinds() {
			t.Run(k.name+", "+string(memory), func(t *testing.T) {
				most := k.most
				most.Memory = memory
				r := newTestRuntime(t, most)
				if memory != MemoryResourceLimit && !r.caps.Has(CgroupPids) {
					if os.Getuid() == 0 {
						missing(t, "a limit of processes by control group: %s", r.caps)
					}
					t.Skipf("NOT TESTED: a limit of processes by control group: %s", r.caps)
				}
				for _, threads := range []bool{false, true} {
					for name, as := range map[string]func(session.Spec) session.Spec{
						"its own user": func(s session.Spec) session.Spec { return s }, "the gateway's user": asGateway,
					} {
						if name == "the gateway's user" && os.Getuid() == 0 && !r.caps.Has(CgroupPids) {
							continue // the kernel does not limit root's processes by RLIMIT_NPROC
						}
						s := as(forks(t, 3*pids, threads))
						s.Pids = pids
						got := run(t, r, s)
						n, err := strconv.Atoi(strings.TrimSpace(got.Stdout))
						if err != nil || n < pids/2 || n > pids+initTasks || got.Exit.Status != 0 {
							t.Errorf("as %s, threads %v: %d were started: %+v", name, threads, n, got)
						}
						if r.caps.Has(OwnUser) && name == "its own user" && n > pids {
							t.Errorf("threads %v: %d were started, of %d", threads, n, pids)
						}
						s.Pids = 0 // without a limit there are more
						if got := run(t, r, s); strings.TrimSpace(got.Stdout) != fmt.Sprint(3*pids) {
							t.Errorf("without a limit, as %s, threads %v: %+v", name, threads, got)
						}
					}
				}
				// At its limit a session continues, and does not affect others.
				s := forks(t, 3*pids, false)
				s.Pids, s.Name = pids, "bomb"
				p := start(t, r, s)
				sessiontest.ReadUntil(t, p.Stdout(), "\n")
				if r.caps.Has(OwnUser) || r.caps.UserNamespace {
					other := line("for i in $(seq 50); do sleep 0.1 & done; wait; echo fine")
					other.Pids = pids
					expectOutput(t, r, other, "fine\n")
				}
				if err := p.Signal("WINCH"); err != nil { // the init still executes orders
					t.Error(err)
				}
				p.Stdin().Close()
				if got := sessiontest.Finish(t, p); got.Exit.Status != 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

// TestInitStartsNoThreads checks that the init has all its threads when the command starts: at the
// limit of the session's processes it could not start another one, and would crash.
func TestInitStartsNoThreads(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		p := start(t, r, line(`cd /proc/$PPID/task && echo *; for i in {1..50}; do (sleep 0.01 &); done; read; echo *`))
		first := strings.TrimSpace(sessiontest.ReadUntil(t, p.Stdout(), "\n"))
		for range 200 {
			if err := p.Signal("WINCH"); err != nil {
				t.Fatal(err)
			}
		}
		p.Stdin().Close()
		got := sessiontest.Finish(t, p)
		// In addition to those of startThreads it has the main thread and at least two of the Go runtime.
		if n := len(strings.Fields(first)); n < initThreads+3 || n >= initTasks {
			t.Errorf("the init has %d threads when the command starts", n)
		}
		if strings.TrimSpace(got.Stdout) != first {
			t.Errorf("the init has the threads %s at the start, and %+v at the end", first, got)
		}
	})
}

// eachWithUsers runs the test with every kind in which sessions have separate users.
func eachWithUsers(t *testing.T, test func(t *testing.T, r *Runtime)) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a session a user of its own")
	}
	each(t, func(t *testing.T, r *Runtime) {
		if !r.caps.Has(OwnUser) {
			missing(t, "users of sessions: %s %+v", r.caps, r.caps.Missing)
		}
		test(t, r)
	})
}

// TestOwnUser: each session has a separate user with a name, a home and files.
func TestOwnUser(t *testing.T) {
	eachWithUsers(t, func(t *testing.T, r *Runtime) {
		s := terminal(`id -u; id -g; id -G; id -un; id -gn; echo $USER $LOGNAME; stat -c %u ~ $(tty); echo x >~/x && stat -c %u ~/x; cd ~ && pwd >/dev/null && whoami; getent passwd $(id -u) | wc -l; ls -A /dev | tr '\n' ' '`)
		if !r.caps.Namespaces {
			s.CommandLine = `id -u; id -g; id -G; echo session session; echo $USER $LOGNAME; stat -c %u ~ $(tty); echo x >~/x && stat -c %u ~/x`
		}
		first, second := s, s
		second.Name = "s-2"
		seen := make(map[string]bool)
		for _, spec := range []session.Spec{first, second} {
			lines := strings.Split(strings.ReplaceAll(run(t, r, spec).Stdout, "\r", ""), "\n")
			uid, err := strconv.Atoi(lines[0])
			if err != nil || uid < testUsers.Low || uid > testUsers.High || seen[lines[0]] {
				t.Fatalf("the user is %q, after %v", lines, seen)
			}
			seen[lines[0]] = true
			u := lines[0]
			want := []string{u, u, u, "session", "session", "session session", u, u, u, "session", "1", "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "}
			if !r.caps.Namespaces {
				want = []string{u, u, u, "session session", "session session", u, u, u, ""}
			}
			if got := strings.Join(lines, "|"); got != strings.Join(want, "|") {
				t.Errorf("got  %s\nwant %s", got, strings.Join(want, "|"))
			}
		}
		if r.caps.Namespaces { // also if the directory of the account files has a private file
			r.hidden = func() []string { return []string{"/etc/ttydrain.yaml"} }
			expectOutput(t, r, line("whoami; id -gn; test -s /etc/hosts && echo hosts"), "session\nsession\nhosts\n")
			r.hidden = nil
		}
		s = line("id -u")
		s.Isolation.User = "daemon" // as configured
		expectOutput(t, r, s, "1\n")
	})
}

// TestUsersAreShared: without a range, or if it cannot be used, sessions have the user nobody.
func TestUsersAreShared(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a session a user of its own")
	}
	for name, ids := range map[string]UserRange{"none": {}, "an account's": {Low: 1, High: 65533}} {
		r, err := newRuntime(Options{Dir: t.TempDir(), Users: ids}, Capabilities{Namespaces: true, Memory: MemoryCgroup2}, &testFilters)
		if err != nil {
			t.Fatal(err)
		}
		expectOutput(t, r, line("id -un"), "nobody\n")
		if r.caps.Has(OwnUser) {
			t.Errorf("%s: %s", name, r.caps)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := newRuntime(Options{Dir: t.TempDir(), Require: []Feature{OwnUser}}, Capabilities{Memory: MemoryResourceLimit}, &testFilters)
	if err == nil || !strings.Contains(err.Error(), "own_user") || !strings.Contains(err.Error(), "uid_range") {
		t.Errorf("%v", err)
	}
}

func TestUserRangeOverlap(t *testing.T) {
	r := UserRange{Low: 300000, High: 365535}
	for _, test := range []struct {
		content string
		ranges  bool
		want    string
	}{
		{"root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n", false, ""},
		{"root:x:0:0::/root:/bin/sh\ndb:x:300000:1000::/:/bin/sh\n", false, "db"},
		{"staff:x:365535:\n", false, "staff"}, {"staff:x:365536:\n# a comment\n\nx:y:z\n", false, ""},
		{"a:100000:65536\nb:231072:65536\n", true, ""}, {"a:100000:65536\nd:296608:65536\n", true, "d"}, {"e:365536:65536\n", true, ""}, {"f:365535:1\n", true, "f"},
	} {
		if got := r.overlap(test.content, test.ranges); got != test.want {
			t.Errorf("%q: %q, want %q", test.content, got, test.want)
		}
	}
}

// TestUserLimitsAreOwn: a session that uses all of the kernel's resources per user does not affect
// others.
func TestUserLimitsAreOwn(t *testing.T) {
	const take = `
libc = ctypes.CDLL(None, use_errno=True)
taken = 0
while taken < 5000 and libc.inotify_init1(0) >= 0:
    taken += 1
print(taken >= 1 and ctypes.get_errno() != 0, flush=True)
input()
`
	eachWithUsers(t, func(t *testing.T, r *Runtime) {
		instances, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
		if err != nil {
			missing(t, "limits of inotify: %v", err)
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(instances))); err != nil || n > 900 { // it would reach the limit of descriptors first
			missing(t, "limits of inotify: there are %s", instances)
		}
		if r.caps.UserNamespace {
			t.Skip("what a user namespace takes counts for the gateway's user too")
		}
		greedy := python(t, take)
		greedy.Name = "greedy"
		p := start(t, r, greedy)
		sessiontest.ReadUntil(t, p.Stdout(), "True\n")
		expectOutput(t, r, python(t, "print(ctypes.CDLL(None).inotify_init1(0) >= 0)\n"), "True\n")
		p.Kill()
		sessiontest.Finish(t, p)
	})
}

// TestUserIDsAreNotReused: an ID is not reused while a process has it, in this gateway or in
// others.
func TestUserIDsAreNotReused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a session a user of its own")
	}
	ids := UserRange{Low: 400000, High: 400002}
	open := func() *users {
		u, err := openUsers(ids, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(u.close)
		return u
	}
	take := func(u *users) int {
		uid, err := u.take()
		if err != nil {
			t.Fatal(err)
		}
		return uid
	}
	one, other := open(), open()
	a, b, c := take(one), take(other), take(one)
	if a == b || b == c || a == c {
		t.Errorf("%d, %d and %d", a, b, c)
	}
	for _, u := range []*users{one, other} {
		_, err := u.take()
		sessiontest.ExpectRefusal(t, err, "sandbox.uid_range")
	}
	// A process has outlived its session.
	survivor := exec.Command("sleep", sessiontest.Marker(8))
	survivor.SysProcAttr = credential(uint32(a))
	if err := survivor.Start(); err != nil {
		t.Fatal(err)
	}
	one.give(a, true)
	if err := survivor.Wait(); err == nil {
		t.Error("it was not killed")
	}
	if got := take(one); got != a { // now that it has ended
		t.Errorf("%d, want %d", got, a)
	}
	// A process that an earlier gateway left running.
	left := exec.Command("sleep", sessiontest.Marker(8))
	left.SysProcAttr = credential(uint32(b))
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	other.close()
	late := open()
	if uid, err := late.take(); err == nil {
		t.Errorf("%d was assigned, although a process has it", uid)
	}
	left.Process.Kill()
	left.Wait()
	if got := take(late); got != b {
		t.Errorf("%d, want %d", got, b)
	}
}

// TestSurvivorsWithoutNamespaces: processes that survive the kill of their session's init are
// killed, too.
func TestSurvivorsWithoutNamespaces(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a session a user of its own")
	}
	r := newTestRuntime(t, Capabilities{Memory: MemoryResourceLimit})
	p := start(t, r, line("setsid sleep "+sessiontest.Marker(9)+" & echo ready; wait"))
	sessiontest.ReadUntil(t, p.Stdout(), "ready")
	if err := p.(*process).init.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	sessiontest.Finish(t, p)
	waittest.Until(t, "the end of all of its processes", func() bool { return len(sessiontest.Running(t, sessiontest.Marker(9))) == 0 })
	if left, err := filepath.Glob(filepath.Join(r.scratch, "session-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
