//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// python returns the Spec of a Python program, for system calls that no shell command makes.
func python(t *testing.T, program string) session.Spec {
	t.Helper()
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		missing(t, "system calls from inside a session: no python3: %v", err)
	}
	s := line("")
	s.Command = []string{"/usr/bin/python3", "-c", "import ctypes, os, errno, socket, fcntl, termios\n" +
		"libc = ctypes.CDLL(None, use_errno=True)\n" +
		"def call(name, *args):\n" +
		"    ctypes.set_errno(0)\n" +
		"    r = libc.syscall(*[ctypes.c_long(a) for a in args])\n" +
		"    print(name, errno.errorcode.get(ctypes.get_errno(), 'allowed') if r < 0 else 'allowed')\n" + program}
	return s
}

// TestTerminalCannotBeTypedInto: TIOCSTI would type a command that runs when the session's shell
// reads again.
func TestTerminalCannotBeTypedInto(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		s := python(t, "try:\n    fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\nexcept OSError as e: print(errno.errorcode[e.errno])\n")
		s.Terminal = terminal("").Terminal
		expectOutput(t, r, s, "EPERM\r\n")
	})
}

// TestCapabilitiesAreDropped lists the capabilities that a session keeps.
func TestCapabilitiesAreDropped(t *testing.T) {
	const show = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '"
	const none = "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n"
	each(t, func(t *testing.T, r *Runtime) {
		got := run(t, r, line(show)).Stdout
		want := none + "CapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n"
		if !r.caps.Namespaces && os.Getuid() != 0 { // such a gateway cannot reduce the bounding set, which has no effect
			want = none
			got = got[:min(len(got), len(want))]
		}
		if got != want {
			t.Errorf("by default: %s", got)
		}
		if os.Getuid() != 0 {
			return
		}
		// CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10,
		// SYS_CHROOT 18.
		const kept = "00000000000404fb"
		expectOutput(t, r, asGateway(line(show)), "CapInh: 0000000000000000\nCapPrm: "+kept+"\nCapEff: "+kept+"\nCapBnd: "+kept+
			"\nCapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n")
	})
}

// TestSetuidGainsNothing runs a set-uid program of root from a directory that the session can see.
func TestSetuidGainsNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a program of root's")
	}
	content, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/lib", "ttydrain-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "id")
	if err := errors.Join(os.WriteFile(file, content, 0o755), os.Chmod(file, 0o755|os.ModeSetuid), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, r *Runtime) {
		expectOutput(t, r, line("stat -c %A "+file+"; test $("+file+" -u) = $(id -u) && test $(id -u) != 0 && echo same"), "-rwsr-xr-x\nsame\n")
	})
}

func TestFilesCannotBeWritten(t *testing.T) {
	const attempts = `for f in /usr/x /etc/x /var/x /x /etc/passwd; do (echo x >>$f) 2>/dev/null && echo wrote $f; done; mkdir /opt/x 2>/dev/null && echo made /opt/x
		for d in ~ ${TMPDIR:-/tmp} /dev/shm; do touch $d/ttydrain-x && rm $d/ttydrain-x || echo no $d; done`
	each(t, func(t *testing.T, r *Runtime) {
		expectOutput(t, r, line(attempts), "")
		expectOutput(t, r, asGateway(line(attempts)), "")
		if !r.caps.Namespaces {
			return
		}
		expectOutput(t, r, line("for d in /run /var/tmp; do touch $d/x && echo $d; done"), "/run\n/var/tmp\n")
	})
}

// TestWritable: a session with writable files may write wherever its user may.
func TestWritable(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "ttydrain-test-")
	if os.Getuid() == 0 {
		dir, err = os.MkdirTemp("/var/lib", "ttydrain-test-")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	each(t, func(t *testing.T, r *Runtime) {
		if r.caps.Namespaces && os.Getuid() != 0 {
			t.Skip("an ordinary user has no folder to write to that is not scratch")
		}
		s := asGateway(line("echo x >" + dir + "/f && cat " + dir + "/f"))
		if got := run(t, r, s); got.Stdout != "" {
			t.Errorf("without it: %+v", got)
		}
		s.Isolation.Writable = true
		expectOutput(t, r, s, "x\n")
		os.Remove(filepath.Join(dir, "f"))
	})
}

// TestGatewaysFilesAreHidden: also from a session with the gateway's own user.
func TestGatewaysFilesAreHidden(t *testing.T) {
	base := "/var/lib"
	if os.Getuid() != 0 {
		base = os.TempDir() // the other scratch directory, which is not visible either
	}
	dir, err := os.MkdirTemp(base, "ttydrain-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	key, store := filepath.Join(dir, "host_key"), filepath.Join(dir, "store")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(key, []byte("SECRET"), 0o644), os.Mkdir(store, 0o755),
		os.WriteFile(filepath.Join(store, "admin_token"), []byte("SECRET"), 0o644), os.Symlink(key, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		all := line("cd " + dir + " && cat host_key link store/admin_token; ls store; cat /proc/*/root" + key)
		if base == "/var/lib" {
			if got := run(t, r, all); !strings.Contains(got.Stdout, "SECRETSECRETSECRET") {
				t.Errorf("it could not be read anyway: %+v", got)
			}
		}
		r.hidden = func() []string { return []string{filepath.Join(dir, "link"), store, "/no/such/file"} }
		for _, s := range []session.Spec{all, asGateway(all)} {
			if got := run(t, r, s); strings.Contains(got.Stdout, "SECRET") || strings.Contains(got.Stdout, "admin_token") {
				t.Errorf("%+v", got)
			}
		}
	})
}

func TestNothingOutsideIsSeenOrSignalled(t *testing.T) {
	outside := exec.Command("sleep", sessiontest.Marker(5))
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		outside.Process.Kill()
		outside.Wait()
	})
	pid := outside.Process.Pid
	abstract, err := net.Listen("unix", fmt.Sprintf("@ttydrain-test-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abstract.Close() })
	each(t, func(t *testing.T, r *Runtime) {
		for _, as := range []func(session.Spec) session.Spec{func(s session.Spec) session.Spec { return s }, asGateway} {
			expectOutput(t, r, as(line(fmt.Sprintf(`kill -0 %d 2>/dev/null && echo signalled; kill -0 %d 2>/dev/null && echo the gateway
				cat /proc/1/environ /proc/1/mem 2>/dev/null | head -c 1; cat /proc/1/root/etc/passwd 2>/dev/null | head -c 1; true`, pid, os.Getpid()))), "")
			if !r.caps.Has(Landlock) {
				t.Logf("NOT TESTED: abstract sockets: %s", r.caps)
				continue
			}
			expectOutput(t, r, as(python(t, fmt.Sprintf("s = socket.socket(socket.AF_UNIX)\ntry:\n    s.connect(%q); print('connected')\n"+
				"except OSError as e: print(errno.errorcode[e.errno])\n", "\x00"+strings.TrimPrefix(abstract.Addr().String(), "@")))), "EPERM\n")
		}
		if r.caps.Namespaces {
			expectOutput(t, r, line("cat /proc/kcore /proc/keys /proc/timer_list /proc/kallsyms 2>/dev/null | head -c 1; ls /sys/firmware 2>/dev/null; (echo x >/proc/sysrq-trigger) 2>/dev/null || echo no"), "no\n")
		}
	})
}

func TestNoNetwork(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		s := line("ls /proc/self/net/; cat /proc/self/net/dev | tail -n +3 | cut -d: -f1")
		s.CommandLine = "tail -n +3 /proc/self/net/dev | cut -d: -f1 | tr -d ' '"
		s.Isolation.NoNetwork = true
		expectOutput(t, r, s, "lo\n")
		s = python(t, "a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname()); print('loopback')\n")
		s.Isolation.NoNetwork = true
		expectOutput(t, r, s, "loopback\n")
	})
	t.Run("no namespaces", func(t *testing.T) {
		s := line("true")
		s.Isolation.NoNetwork = true
		_, err := newTestRuntime(t, Capabilities{Memory: MemoryCgroup2}).Start(t.Context(), s)
		sessiontest.ExpectRefusal(t, err, "network")
	})
}

func TestUser(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		s := line("id -u; echo $USER; echo x >/dev/stderr; echo >/dev/stdout")
		s.Isolation.User = "daemon"
		if os.Getuid() != 0 {
			_, err := r.Start(t.Context(), s)
			sessiontest.ExpectRefusal(t, err, "daemon", "Run the gateway as root")
			return
		}
		expectOutput(t, r, s, "1\ndaemon\n\n")
		s.Terminal = terminal("").Terminal
		s.CommandLine = "id -u; echo hi >$(tty); stat -c %U $(tty)"
		expectOutput(t, r, s, "1\r\nhi\r\ndaemon\r\n")
		s.Isolation.User = "no-such-user"
		_, err := r.Start(t.Context(), s)
		sessiontest.ExpectRefusal(t, err, "no-such-user", "correct")
	})
}

// TestRequire: a missing feature of the host is reported with a remedy, and is an error if it is
// required.
func TestRequire(t *testing.T) {
	most := Capabilities{Memory: MemoryResourceLimit}
	o := Options{Dir: t.TempDir(), Require: []Feature{Seccomp, NoNewPrivileges}}
	r, err := newRuntime(o, most, &testFilters)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, f := range Features() {
		lacks := slices.IndexFunc(r.caps.Missing, func(l Lack) bool { return l.Feature == f && l.Reason != "" && l.Remedy != "" })
		if r.caps.Has(f) == (lacks >= 0) {
			t.Errorf("%s is neither in force nor missing, or both: %+v", f, r.caps)
		}
		told++
	}
	if told != len(r.caps.InForce)+len(r.caps.Missing) {
		t.Errorf("%+v", r.caps)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	o.Require = append(o.Require, ReadOnlyRoot, CgroupMemory)
	_, err = newRuntime(o, most, &testFilters)
	if err == nil || !strings.Contains(err.Error(), "no read_only_root: it needs namespaces; to have it, ") ||
		!strings.Contains(err.Error(), "cgroup_memory") || !strings.Contains(err.Error(), "sandbox.require") {
		t.Errorf("%v", err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "run-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
