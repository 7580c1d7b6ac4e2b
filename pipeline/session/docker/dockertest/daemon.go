// Package dockertest provides tests with a real Docker daemon, and with an image that needs no
// registry.
package dockertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// patience limits the waits for a daemon. It is long, because it is not a measurement.
const patience = 2 * time.Minute

// Daemon is a Docker daemon for tests that has the image [Image].
type Daemon struct {
	// Host is its address, as in DOCKER_HOST.
	Host string
	// Client is connected to it, and closed after the test.
	Client *client.Client

	dir        string // "" for an external daemon
	containerd *program
	dockerd    *program
}

// Start returns the daemon of DOCKER_HOST or, if that is not set, starts a separate one: with its
// own files, sockets and control groups, and no change to the host's network except for the bridges
// of networks that tests create. It ends with the test, as does everything that runs on it. If no
// daemon can be started, the test is skipped, or fails with TTYDRAIN_REQUIRE_SERVERS=1.
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

// StartOwn is like [Start], but never uses DOCKER_HOST. It is for tests that stop or restart the
// daemon.
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
	// Not t.TempDir: the path of a socket has a maximum length.
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Host: "unix://" + filepath.Join(dir, "docker.sock"), dir: dir}
	t.Cleanup(func() {
		if d.dockerd != nil {
			d.Stop(t)
		}
		if d.containerd != nil {
			d.containerd.end(t, unix.SIGTERM)
		}
		d.clean(t)
	})
	// A separate process, as in Docker's packages: containers survive a daemon that is killed.
	settings := filepath.Join(dir, "containerd.toml")
	if err := os.WriteFile(settings, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.containerd = startProgram(t, "containerd", "--config", settings, "--root", filepath.Join(dir, "containerd"), "--state", filepath.Join(dir, "state"),
		"--address", d.containerdSocket())
	d.Run(t)
	d.connect(t)
	d.importImage(t)
	return d
}

func (d *Daemon) containerdSocket() string { return filepath.Join(d.dir, "containerd.sock") }

// Run starts the daemon after it was stopped or killed, and waits until it answers.
func (d *Daemon) Run(t testing.TB) {
	t.Helper()
	os.Remove(filepath.Join(d.dir, "docker.pid")) // left by a killed daemon
	d.dockerd = startProgram(t, "dockerd",
		"--host", d.Host, "--data-root", filepath.Join(d.dir, "root"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--containerd", d.containerdSocket(), "--pidfile", filepath.Join(d.dir, "docker.pid"), "--cgroup-parent", d.group(),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false")
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
		case <-d.dockerd.over:
			t.Fatalf("dockerd has ended:\n%s", d.dockerd.log.String())
		case <-ctx.Done():
			t.Fatalf("dockerd does not answer:\n%s", d.dockerd.log.String())
		case <-time.After(wait):
		}
	}
}

// Stop stops the daemon as an operator does; its containers end. It may be called repeatedly.
func (d *Daemon) Stop(t testing.TB) { d.dockerd.end(t, unix.SIGTERM) }

// Kill kills the daemon, as a crash does: its containers continue until the next one takes them
// over.
func (d *Daemon) Kill(t testing.TB) { d.dockerd.end(t, unix.SIGKILL) }

// Pause stops the daemon's process, so that it answers nothing, until resume is called.
func (d *Daemon) Pause(t testing.TB) (resume func()) {
	t.Helper()
	process := d.dockerd.cmd.Process
	if err := process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = sync.OnceFunc(func() { process.Signal(unix.SIGCONT) })
	t.Cleanup(resume)
	return resume
}

// Own reports whether the daemon was started by this test, on this host.
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

// group returns the parent of the containers' control groups.
func (d *Daemon) group() string { return "/ttydrain-" + filepath.Base(d.dir) }

// clean removes what a killed daemon leaves on the host.
func (d *Daemon) clean(t testing.TB) {
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + d.group()) // of version 1; the pattern is valid
	groups = append(groups, "/sys/fs/cgroup"+d.group())
	for _, group := range groups {
		d.killAll(group + "/*/cgroup.procs")
	}
	shims, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range shims {
		if args, err := os.ReadFile(name); err == nil && bytes.Contains(args, []byte("\x00"+d.containerdSocket()+"\x00")) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(mounts) {
		if at := strings.Fields(string(line))[1]; strings.HasPrefix(at, d.dir+"/") {
			unix.Unmount(at, unix.MNT_DETACH) // RemoveAll fails if it is still mounted
		}
	}
	for _, group := range groups {
		inner, _ := filepath.Glob(group + "/*/")
		for _, g := range append(inner, group) {
			unix.Rmdir(g) // fails if it does not exist
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}

// killAll kills the processes in the files.
func (d *Daemon) killAll(pattern string) {
	files, _ := filepath.Glob(pattern)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %s, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s", what)
}
