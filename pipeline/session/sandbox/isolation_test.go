//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func credential(id uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
}

func TestSeesOnlyItself(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		got := run(t, r, line("sleep "+sessiontest.Marker(1)+" & ps -e -o pid=,args=; hostname; echo $$"))
		lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
		if len(lines) != 6 {
			t.Fatalf("want four processes, host name and process ID, got:\n%s%s", got.Stdout, got.Stderr)
		}
		for i, want := range []string{`^ *1 ttydrain: session-init$`, `bash -c`, `sleep ` + sessiontest.Marker(1), `ps -e`, `^s-1$`, `^\d{1,2}$`} {
			if !regexp.MustCompile(want).MatchString(lines[i]) {
				t.Errorf("line %d is %q, want %s", i, lines[i], want)
			}
		}
	})
}

func TestNamespacesAreOwn(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		for _, ns := range []string{"pid", "mnt", "uts", "ipc"} {
			host, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.TrimSpace(run(t, r, line("readlink /proc/self/ns/"+ns)).Stdout)
			if got == "" || got == host {
				t.Errorf("%s: %q in the session, %q on the host", ns, got, host)
			}
		}
		hostname, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if hostname == "s-1" {
			t.Error("the host has the session's name")
		}
	})
}

func TestScratch(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		name := "ttydrain-scratch-" + sessiontest.Marker(0)
		// The home is the working directory. It is empty, writable, only accessible to the user, and not
		// shared.
		expectOutput(t, r, line(`test "$PWD" = "$HOME" && pwd -P | grep -qx "$(readlink -f "$HOME")" && ls -A && stat -c %a . && echo x > `+name+` && cat `+name),
			"700\nx\n")
		expectOutput(t, r, line("ls -A; echo x >${TMPDIR:-/tmp}/"+name), "")
		expectOutput(t, r, line("ls -A ${TMPDIR:-/tmp} | grep -vx home; echo x >/dev/null"), "")
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/"
		}
		for _, file := range []string{filepath.Join(home, name), filepath.Join(os.TempDir(), name), filepath.Join("/tmp", name)} {
			if _, err := os.Lstat(file); err == nil {
				t.Errorf("%s has survived", file)
			}
		}
		left, err := filepath.Glob(filepath.Join(r.dir, "session-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
}

func TestScratchWithoutPermissionsIsRemoved(t *testing.T) {
	r := newTestRuntime(t, Capabilities{Memory: MemoryCgroup2})
	run(t, r, line("mkdir -p a/b; touch a/b/c; chmod 0 a/b a"))
	if left, err := filepath.Glob(filepath.Join(r.dir, "session-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// hostMounts returns the mounts of this process, except for those that tests of other packages
// create concurrently: in their temporary directories, and of network namespaces.
func hostMounts(t *testing.T, r *Runtime) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var mounts strings.Builder
	for line := range strings.Lines(string(table)) {
		at := strings.Fields(line)[4]
		if strings.HasPrefix(at, r.dir) || !strings.HasPrefix(at, "/tmp/") && !strings.HasPrefix(at, "/run/netns") {
			mounts.WriteString(line)
		}
	}
	return mounts.String()
}

func TestHostMountsAreUntouched(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		before := hostMounts(t, r)
		p := start(t, r, terminal("echo ready; read x"))
		sessiontest.ReadUntil(t, p.Stdout(), "ready")
		after := hostMounts(t, r)
		p.Kill()
		sessiontest.Finish(t, p)
		if before != after {
			t.Errorf("the host's mounts have changed:\n%s\n%s", before, after)
		}
	})
}

// A leaked descriptor or variable is a vulnerability. This gateway has inherited a descriptor
// without close-on-exec, as from a shell or a service manager.
func TestNothingLeaks(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		var fds [2]int
		if err := syscall.Pipe(fds[:]); err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fds[0])
		defer syscall.Close(fds[1])
		t.Setenv("GATEWAY_SECRET", "not for sessions")

		for _, spec := range []session.Spec{line("ls /proc/self/fd | cat"), terminal("ls /proc/self/fd | cat")} {
			// 3 is the directory that ls itself reads.
			if got := run(t, r, spec); strings.Fields(got.Stdout) == nil || strings.Join(strings.Fields(got.Stdout), " ") != "0 1 2 3" {
				t.Errorf("descriptors: %q %q", got.Stdout, got.Stderr)
			}
		}
		expectOutput(t, r, line(`grep -h flags: /proc/self/fdinfo/[012] | grep -c '4...$'`+" || true"), "0\n") // O_NONBLOCK

		spec := terminal("")
		spec.Command = []string{"/usr/bin/env"}
		spec.Env = []string{"A=1", "LANG=C.UTF-8", "A=2", "X=a=b", "BYTES=\xff\xfe"}
		got := run(t, r, spec).Stdout
		names := map[string]string{}
		for l := range strings.SplitSeq(strings.TrimSpace(got), "\r\n") {
			name, value, _ := strings.Cut(l, "=")
			names[name] = value
		}
		for name, want := range map[string]string{"A": "2", "LANG": "C.UTF-8", "X": "a=b", "BYTES": "\xff\xfe", "PATH": defaultPath, "TERM": "xterm-256color"} {
			if names[name] != want {
				t.Errorf("%s is %q, want %q", name, names[name], want)
			}
			delete(names, name)
		}
		for _, name := range []string{"HOME", "USER", "LOGNAME", "SHELL", "PWD"} {
			if names[name] == "" {
				t.Errorf("no %s", name)
			}
			delete(names, name)
		}
		if r.caps.Namespaces == false {
			delete(names, "TMPDIR")
		}
		if len(names) > 0 {
			t.Errorf("more than it should have: %v", names)
		}
	})
}

func TestEnvironmentOverridesDefaults(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		spec := terminal("")
		spec.Command = []string{"sh"}
		spec.CommandLine = `echo "$PATH $TERM $USER $HOME $PWD"`
		spec.Env = []string{"PATH=/usr/bin:/bin", "TERM=vt100", "USER=somebody", "HOME=/usr"}
		expectOutput(t, r, spec, "/usr/bin:/bin vt100 somebody /usr /usr\r\n")
	})
}

// The init's arguments and environment contain nothing about the session.
func TestSecretsAreNotInInit(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		spec := line("echo ready; read x")
		spec.Env = []string{"SECRET=hunter2"}
		p := start(t, r, spec)
		sessiontest.ReadUntil(t, p.Stdout(), "ready")
		pid := p.(*process).init.Pid
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if os.IsPermission(err) {
				continue // better still
			}
			if err != nil {
				t.Error(err)
			}
			if strings.Contains(string(content), "hunter2") || strings.Contains(string(content), "read x") {
				t.Errorf("%s: %q", file, content)
			}
		}
		p.Kill()
		sessiontest.Finish(t, p)
	})
}

func TestRootCannotLiftItsLimits(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		expectOutput(t, r, line(`
			umount /proc 2>/dev/null && echo unmounted
			mount -t tmpfs tmpfs /mnt 2>/dev/null && echo mounted
			mknod d b 8 0 2>/dev/null && echo made a disk
			hostname other 2>/dev/null && echo renamed
			for f in /sys/fs/cgroup/*/cgroup.procs /proc/sys/kernel/core_pattern; do
				test -e $f && (echo 0 >$f) 2>/dev/null && echo wrote $f
			done
			kill -TERM 1; kill -KILL 1; kill -HUP 1
			cat /proc/1/mem /proc/1/environ 2>/dev/null | head -c 1
			ls -A /dev
		`), "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n")
	})
}

// buildRoot creates a root directory with some programs and their libraries.
func buildRoot(t *testing.T, programs ...string) string {
	t.Helper()
	root := t.TempDir()
	copied := map[string]bool{}
	put := func(file string) {
		if copied[file] {
			return
		}
		copied[file] = true
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	library := regexp.MustCompile(`(/\S+) \(0x`)
	for _, name := range programs {
		file, err := exec.LookPath(name)
		if err != nil {
			missing(t, "a root folder: no %s to put there", name)
		}
		put(file)
		out, err := exec.Command("ldd", file).Output()
		if err != nil {
			missing(t, "a root folder: ldd %s: %v", file, err)
		}
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			put(m[1])
		}
	}
	return root
}

func TestRoot(t *testing.T) {
	root := buildRoot(t, "bash", "ls", "cat", "tty", "stat", "readlink")
	outside := t.TempDir()
	// A possible remnant of an earlier session: a link that leads out of the root directory.
	if err := os.Symlink(outside, filepath.Join(root, "tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	passwd := fmt.Sprintf("app:x:%d:%d::/srv/app:/bin/bash\n", os.Getuid(), os.Getgid())
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		spec := func(s session.Spec) session.Spec {
			s.Command, s.Root = []string{"bash"}, root
			return asGateway(s)
		}
		// /tmp is a dangling link: this is reported, and nothing is created outside.
		_, err := r.Start(t.Context(), spec(line("true")))
		if err == nil || !strings.Contains(err.Error(), "/tmp") {
			t.Errorf("with a /tmp that leads out: %v", err)
		}
		if err := os.Remove(filepath.Join(root, "tmp")); err != nil {
			t.Fatal(err)
		}
		defer func() { // for the next kind
			err := errors.Join(os.Remove(filepath.Join(root, "tmp")), os.Symlink(outside, filepath.Join(root, "tmp")))
			if err != nil {
				t.Error(err)
			}
		}()

		expectOutput(t, r, spec(line("cat /etc/passwd")), passwd)
		expectOutput(t, r, spec(line("pwd; echo $USER $HOME; test -e "+outside+" && echo the host is to be seen; ls -A . /tmp")),
			"/srv/app\napp /srv/app\n.:\n\n/tmp:\n")
		expectOutput(t, r, spec(line("set -- /proc/[0-9]*; echo $# $1; ls -A /dev")),
			"2 /proc/1\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n")
		expectOutput(t, r, spec(terminal("tty; echo secret >/dev/tty; echo x >/dev/null; stat -c %F /dev/ptmx /dev/pts/ptmx -L; cd ..; readlink -f .")),
			"/dev/pts/0\r\nsecret\r\ncharacter special file\r\ncharacter special file\r\n/srv\r\n")
		// The old root is not accessible: every mount belongs to the session.
		mounts := run(t, r, spec(line("cat /proc/self/mountinfo"))).Stdout
		for l := range strings.Lines(mounts) {
			if p := strings.Fields(l)[4]; p != "/" && !strings.HasPrefix(p, "/dev") && !strings.HasPrefix(p, "/proc") && p != "/tmp" && p != "/srv/app" {
				t.Errorf("a mount that does not belong there: %s", l)
			}
			if strings.Contains(l, "shared:") || strings.Contains(l, "master:") {
				t.Errorf("a mount that propagates: %s", l)
			}
		}
	})
	left, err := os.ReadDir(outside)
	if err != nil || len(left) > 0 {
		t.Errorf("something was made outside of the root folder: %v %v", left, err)
	}
	t.Run("no namespaces", func(t *testing.T) {
		s := line("true")
		s.Root = root
		_, err := newTestRuntime(t, Capabilities{Memory: MemoryCgroup2}).Start(t.Context(), s)
		sessiontest.ExpectRefusal(t, err, "namespaces")
	})
}

func TestInvalidRoot(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, root := range []string{"/nowhere/at/all", file} {
			s := line("true")
			s.Root = root
			_, err := r.Start(t.Context(), s)
			sessiontest.ExpectRefusal(t, err, root)
		}
	})
}
