package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience limits every wait of these tests. Nothing is measured by it.
const patience = 2 * time.Minute

// need requires external programs, and root. Without them the test is skipped, or fails if
// TTYDRAIN_REQUIRE_SERVERS is 1.
func need(t *testing.T, programs ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			missing = name
		}
	}
	switch {
	case missing == "":
	case os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1":
		t.Fatalf("NOT TESTED: %s is missing, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", missing)
	default:
		t.Skipf("SKIPPED, NOT TESTED: %s is missing", missing)
	}
}

// A container is this host with systemd in namespaces of its own: changes to its files are in
// memory, and disappear with it.
type container struct {
	t       *testing.T
	systemd *exec.Cmd
}

// start is the first program of a container. It replaces itself with systemd, which starts no
// services of the host.
const start = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"; mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for name in null zero full random urandom tty; do cp -a /dev/$name dev; done
mount --bind "$2" mnt
rm -rf etc/systemd/system/*.wants etc/machine-id
rm -f var/lib/man-db/auto-update # the index of all manual pages takes minutes
: > etc/machine-id
pivot_root . media # not chroot, whose processes may not create user namespaces
umount -l /media
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --unit=basic.target --log-target=console --show-status=0
`

// newContainer starts a container that has the folder dir at /mnt, and stops it when the test ends.
func newContainer(t *testing.T, dir string) *container {
	t.Helper()
	need(t, "systemctl", "systemd-analyze", "pivot_root", "nsenter", "mount", "man")
	// A control group of its own, so that systemd does not touch those of the host.
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	group := ""
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			group = filepath.Join(fields[1], fmt.Sprintf("ttydrain-test-%d-%s", os.Getpid(), t.Name()))
		}
	}
	if group == "" {
		t.Fatal("no cgroup2 is mounted")
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	handle, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	cmd := exec.Command("sh", "-c", start, "sh", t.TempDir(), dir)
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(handle.Fd()),
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the kernel ends all others with it
		_ = cmd.Wait()
		for range 100 { // control groups stay until their processes have disappeared
			if removeGroups(group) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if t.Failed() {
			t.Logf("the container said:\n%s", &said)
		}
	})
	c := &container{t, cmd}
	c.await("systemd", func() bool {
		state, _ := c.try("systemctl is-system-running")
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
	return c
}

// removeGroups removes a control group and those below it.
func removeGroups(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(group)
}

// command returns a shell command that runs in the container.
func (c *container) command(script string) *exec.Cmd {
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(c.systemd.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
		"sh", "-c", script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// try runs a shell command, and returns its output.
func (c *container) try(script string) (string, error) {
	out, err := c.command(script).CombinedOutput()
	return string(out), err
}

// do runs a shell command, which must succeed.
func (c *container) do(script string) string {
	c.t.Helper()
	out, err := c.try(script)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// await waits until something holds.
func (c *container) await(what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := c.try("journalctl --no-pager -n 20; systemctl status ttydrain")
			c.t.Fatalf("waited %s in vain: for %s\n%s", patience, what, log)
		}
	}
}

// An output is what a running program has printed so far.
type output struct {
	mu   sync.Mutex // guards data
	data bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}
