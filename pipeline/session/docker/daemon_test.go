package docker_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker"
	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestOrphans: the containers of a killed gateway are removed at its next start, and no others.
func TestOrphans(t *testing.T) {
	d := dockertest.Start(t)
	other := newRuntime(t, d.Host, "another")
	theirs := start(t, other, terminal(session.Container{Image: dockertest.Image}, "echo running; read x; exit 3"))
	sessiontest.ReadUntil(t, theirs.Stdout(), "running")

	gateway := exec.Command("/proc/self/exe")
	gateway.Env = append(os.Environ(), "DOCKER_TEST_GATEWAY="+d.Host, "DOCKER_TEST_NAME=killed")
	stdout, err := gateway.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	sessiontest.ReadUntil(t, stdout, "running")
	gateway.Process.Kill()
	gateway.Wait()
	orphan := inspect(t, d, "killed")
	if !orphan.State.Running {
		t.Error("there is no orphan")
	}

	next := newRuntime(t, d.Host, "killed")
	if !isGone(t, d, orphan.ID) {
		t.Error("the orphan is still there")
	}
	// Containers that the gateway starts afterwards are not orphans.
	mine := start(t, next, line(session.Container{Image: dockertest.Image}, "echo running; read x; exit 4"))
	sessiontest.ReadUntil(t, mine.Stdout(), "running")
	next.Open(t.Context())
	for _, s := range []struct {
		process session.Process
		status  int
	}{{theirs, 3}, {mine, 4}} {
		if _, err := s.process.Stdin().Write([]byte("\n")); err != nil {
			t.Error(err)
		}
		if got := sessiontest.Collect(s.process); got.Exit.Status != s.status || got.Err != nil {
			t.Errorf("%+v", got)
		}
	}
}

// TestDaemonIsKilled: sessions end with a message, and their containers are removed when the daemon
// runs again.
func TestDaemonIsKilled(t *testing.T) {
	t.Parallel()
	d := dockertest.StartOwn(t)
	r := newRuntime(t, d.Host, "crashed-daemon")
	var sessions []session.Process
	for _, spec := range []session.Spec{line(session.Container{Image: dockertest.Image}, "echo running; sleep 1000"), terminal(session.Container{Image: dockertest.Image}, "echo running; sleep 1000")} {
		p := start(t, r, spec)
		sessiontest.ReadUntil(t, p.Stdout(), "running")
		sessions = append(sessions, p)
	}
	d.Kill(t)
	for _, p := range sessions {
		if got := sessiontest.Collect(p); got.Err == nil || !strings.Contains(got.Err.Error(), "lost") {
			t.Errorf("%+v", got)
		}
	}
	_, err := r.Start(t.Context(), line(session.Container{Image: dockertest.Image}, "true"))
	sessiontest.ExpectRefusal(t, err, "try again")
	d.Run(t)
	waittest.Until(t, "the removal of what was left", func() bool { return len(containers(t, d, "crashed-daemon")) == 0 })
	expect(t, r, line(session.Container{Image: dockertest.Image}, "echo well"), "well\n")
}

// TestDaemonStandsStill: a session whose daemon does not respond can be ended nevertheless.
func TestDaemonStandsStill(t *testing.T) {
	t.Parallel()
	d := dockertest.StartOwn(t)
	r := newRuntime(t, d.Host, "still-daemon")
	p := start(t, r, terminal(session.Container{Image: dockertest.Image}, "echo running; sleep 1000"))
	sessiontest.ReadUntil(t, p.Stdout(), "running")
	resume := d.Pause(t)
	p.Kill()
	if got := sessiontest.Collect(p); got.Err == nil {
		t.Errorf("%+v", got)
	}
	resume()
	waittest.Until(t, "the removal of the container", func() bool { return len(containers(t, d, "still-daemon")) == 0 })
}

// TestDaemonComesLater: a gateway that starts before its daemon refuses sessions until the daemon
// runs.
func TestDaemonComesLater(t *testing.T) {
	t.Parallel()
	d := dockertest.StartOwn(t)
	early := start(t, newRuntime(t, d.Host, "later"), terminal(session.Container{Image: dockertest.Image}, "echo running; sleep 1000"))
	sessiontest.ReadUntil(t, early.Stdout(), "running")
	d.Stop(t)
	sessiontest.Collect(early)

	r := newRuntime(t, d.Host, "later")
	_, err := r.Start(t.Context(), line(session.Container{Image: dockertest.Image}, "true"))
	sessiontest.ExpectRefusal(t, err, "can't be reached now")
	if _, err := r.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "start the Docker daemon") {
		t.Errorf("%v", err)
	}
	d.Run(t)
	waittest.Until(t, "the removal of orphans", func() bool { return len(containers(t, d, "later")) == 0 })
	expect(t, r, line(session.Container{Image: dockertest.Image}, "echo well"), "well\n")
}

func TestProbe(t *testing.T) {
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "probe")
	if about, err := r.Probe(t.Context()); err != nil || !strings.Contains(about, "answers") {
		t.Errorf("%q %v", about, err)
	}
	for _, test := range []struct {
		c    session.Container
		says string
		bad  bool
	}{
		{session.Container{Image: dockertest.Image}, "exists", false},
		{session.Container{Image: "no-such-image"}, "does not exist", true},
		{session.Container{Image: "no-such-image", Pull: true}, "is pulled", false},
		{session.Container{From: "no-such-container"}, "does not exist", true},
	} {
		about, err := r.ProbeContainer(t.Context(), test.c)
		if err != nil {
			about = err.Error()
		}
		if (err != nil) != test.bad || !strings.Contains(about, test.says) {
			t.Errorf("%+v: %q, %v", test.c, about, err)
		}
	}
}

func TestInvalidHost(t *testing.T) {
	if _, err := docker.New(docker.Options{Host: "no host"}); err == nil {
		t.Error("accepted")
	}
	r, err := docker.New(docker.Options{Host: "unix://" + filepath.Join(t.TempDir(), "none.sock"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.Open(t.Context())
	if err := r.Close(); err != nil { // without waiting for a daemon
		t.Error(err)
	}
}

// TestOverTLS uses a daemon with TLS that requires a client certificate. Input can be closed
// separately there, too.
func TestOverTLS(t *testing.T) {
	d := dockertest.StartOwn(t)
	c := syslogtest.NewCertificates(t)
	certificate, err := tls.LoadX509KeyPair(c.ServerCertFile, c.ServerKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	relays.Go(func() { // ends with the listener
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { relay(t, from.(*tls.Conn), strings.TrimPrefix(d.Host, "unix://")) }) // ends with the connection
		}
	})
	t.Cleanup(relays.Wait) // after the runtime is closed
	t.Cleanup(func() { listener.Close() })

	settings, err := sinks.TLS{CAFile: c.CAFile, CertFile: c.ClientCertFile, KeyFile: c.ClientKeyFile}.Config()
	if err != nil {
		t.Fatal(err)
	}
	host := "tcp://" + listener.Addr().String()
	r, err := docker.New(docker.Options{Host: host, TLS: settings, Gateway: "tls", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Open(t.Context())
	p := start(t, r, line(session.Container{Image: dockertest.Image}, "cat; echo done >&2"))
	if _, err := p.Stdin().Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if err := p.Stdin().Close(); err != nil {
		t.Error(err)
	}
	if got := sessiontest.Collect(p); got.Stdout != "hello" || got.Stderr != "done\n" || got.Exit != (session.Exit{}) || got.Err != nil {
		t.Errorf("%+v", got)
	}
	expect(t, r, terminal(session.Container{Image: dockertest.Image}, "echo well"), "well\r\n")

	stranger := newRuntime(t, host, "stranger")
	if _, err := stranger.Probe(t.Context()); err == nil {
		t.Error("without TLS the daemon answers")
	}
}

// relay forwards data in both directions, and the end of each.
func relay(t *testing.T, from *tls.Conn, socket string) {
	defer from.Close()
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Error(err)
		return
	}
	defer connection.Close()
	to := connection.(*net.UnixConn)
	var there sync.WaitGroup
	there.Go(func() { // ends with the client's side
		io.Copy(to, from)
		to.CloseWrite()
	})
	io.Copy(from, to)
	from.CloseWrite()
	there.Wait()
}
