// Package dockertest gives tests a real Docker daemon, and an image that needs no registry.
package dockertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// patience bounds the waits for a daemon. It is long, since nothing is measured by it.
const patience = 2 * time.Minute

// A Daemon is a Docker daemon for tests, with the image [Image] on it.
type Daemon struct {
	// Host is where it answers, as in DOCKER_HOST.
	Host string
	// Client speaks to it. It is closed with the test.
	Client *client.Client

	dir string // "" for one that others run
	cmd *exec.Cmd
	log lockedBuffer
	// over is closed when the daemon has ended.
	over chan struct{}
}

// Start gives the daemon of DOCKER_HOST or, where that is not set, starts one of its own: with files, sockets and
// control groups of its own, and nothing of the host's network changed but the bridges of networks that tests make.
// It ends with the test, as does all that runs on it. Where there is no daemon to start, the test is skipped, or fails with
// TTYDRAIN_REQUIRE_SERVERS=1.
func Start(t testing.TB) *Daemon {
	t.Helper()
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		d := &Daemon{Host: host}
		d.connect(t)
		d.importImage(t)
		return d
	}
	return StartOwn(t)
}

// StartOwn is [Start] for tests that stop or restart the daemon: it never takes that of DOCKER_HOST.
func StartOwn(t testing.TB) *Daemon {
	t.Helper()
	for _, program := range []string{"dockerd", "containerd", "docker-init"} {
		if _, err := exec.LookPath(program); err != nil {
			absent(t, program+" is not installed")
		}
	}
	if os.Getuid() != 0 {
		absent(t, "a Docker daemon can be started by root alone (DOCKER_HOST names one that runs)")
	}
	// Not in t.TempDir: the path of a socket may not be long.
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Host: "unix://" + filepath.Join(dir, "docker.sock"), dir: dir}
	t.Cleanup(func() { d.clean(t) }) // after Stop
	d.Run(t)
	d.connect(t)
	d.importImage(t)
	return d
}

// Run starts the daemon, and waits until it answers. It is for one that was stopped or killed.
func (d *Daemon) Run(t testing.TB) {
	t.Helper()
	os.Remove(filepath.Join(d.dir, "docker.pid")) // of one that was killed
	d.cmd = exec.Command("dockerd",
		"--host", d.Host, "--data-root", filepath.Join(d.dir, "root"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "docker.pid"), "--cgroup-parent", d.group(),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false")
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	// It ends with this process too, should that be killed. The kernel sends this signal when the *thread* ends that
	// started the child, which therefore waits for it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	started, over := make(chan error, 1), make(chan struct{})
	cmd := d.cmd
	d.over = over
	go func() { // ends with the daemon, which the cleanup ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(over)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start dockerd: %v", err)
	}
	t.Cleanup(func() { d.Stop(t) })
	d.await(t)
}

// await waits until the daemon answers.
func (d *Daemon) await(t testing.TB) {
	t.Helper()
	c, err := client.New(client.WithHost(d.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		if _, err := c.Ping(ctx, client.PingOptions{}); err == nil {
			return
		}
		select {
		case <-d.over:
			t.Fatalf("dockerd has ended:\n%s", d.log.String())
		case <-ctx.Done():
			t.Fatalf("dockerd does not answer:\n%s", d.log.String())
		case <-time.After(wait):
		}
	}
}

// Stop stops the daemon as an operator does; its containers end. It may be called again.
func (d *Daemon) Stop(t testing.TB) { d.end(t, unix.SIGTERM) }

// Kill kills the daemon, as a crash does: its containers go on until the next one looks after them.
func (d *Daemon) Kill(t testing.TB) { d.end(t, unix.SIGKILL) }

func (d *Daemon) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	select {
	case <-d.over:
		return
	default:
	}
	d.cmd.Process.Signal(signal)
	select {
	case <-d.over:
	case <-time.After(patience):
		t.Errorf("dockerd does not end:\n%s", d.log.String())
		d.cmd.Process.Kill()
		<-d.over
	}
}

// Pause stops the daemon's process, so that it answers nothing, until resume is called.
func (d *Daemon) Pause(t testing.TB) (resume func()) {
	t.Helper()
	if err := d.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = sync.OnceFunc(func() { d.cmd.Process.Signal(unix.SIGCONT) })
	t.Cleanup(resume)
	return resume
}

// Own says whether the daemon is this test's, on this host.
func (d *Daemon) Own() bool { return d.dir != "" }

func (d *Daemon) connect(t testing.TB) {
	t.Helper()
	var err error
	if d.Client, err = client.New(client.WithHost(d.Host)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Client.Close() })
	if _, err := d.Client.Ping(t.Context(), client.PingOptions{}); err != nil {
		absent(t, fmt.Sprintf("the Docker daemon at %s does not answer: %v", d.Host, err))
	}
}

// group is the parent of the containers' control groups.
func (d *Daemon) group() string { return "/ttydrain-" + filepath.Base(d.dir) }

// clean removes what the daemon leaves on the host.
func (d *Daemon) clean(t testing.TB) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(mounts) {
		if at := strings.Fields(string(line))[1]; strings.HasPrefix(at, d.dir+"/") {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", at, err)
			}
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + d.group()) // of version 1; the pattern is valid
	for _, group := range append(groups, "/sys/fs/cgroup"+d.group()) {
		inner, _ := filepath.Glob(group + "/*/")
		for _, g := range append(inner, group) {
			unix.Rmdir(g) // which fails for what is in use, or not there
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}

// A lockedBuffer keeps what the daemon says.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text[max(0, len(b.text)-1<<14):])
}

func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %s, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s", what)
}
