package docker_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker"
	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func TestMain(m *testing.M) {
	if host := os.Getenv("DOCKER_TEST_GATEWAY"); host != "" {
		gatewayMain(host)
		return
	}
	os.Exit(m.Run())
}

func newRuntime(t *testing.T, host, gateway string) *docker.Runtime {
	t.Helper()
	r, err := docker.New(docker.Options{Host: host, Gateway: gateway, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.Open(t.Context())
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestConformance(t *testing.T) {
	t.Parallel()
	d := dockertest.Start(t)
	sessiontest.Run(t, sessiontest.Subject{
		Runtime:   func(t *testing.T) session.Runtime { return newRuntime(t, d.Host, "conformance/"+t.Name()) },
		Container: session.Container{Image: dockertest.Image},
		LateSize:  versions.LessThan(d.Client.ClientVersion(), "1.42"),
		HostName:  true,
		Memory:    true,
		Local:     d.Own(),
	})
}

// line returns the Spec of a shell's command line without a terminal.
func line(c session.Container, commandLine string) session.Spec {
	return session.Spec{Name: "s-1", Operation: "17", App: "web", Command: []string{"/bin/bash"}, CommandLine: commandLine, Memory: 1 << 30, Container: c}
}

// terminal returns the same with one.
func terminal(c session.Container, commandLine string) session.Spec {
	s := line(c, commandLine)
	s.Terminal = &session.Terminal{Name: "xterm", Size: session.Size{Width: 80, Height: 24}}
	return s
}

func start(t *testing.T, r *docker.Runtime, spec session.Spec) session.Process {
	t.Helper()
	p, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, r *docker.Runtime, spec session.Spec) sessiontest.Result {
	t.Helper()
	p := start(t, r, spec)
	p.Stdin().Close()
	return sessiontest.Finish(t, p)
}

func expect(t *testing.T, r *docker.Runtime, spec session.Spec, want string) {
	t.Helper()
	if got := run(t, r, spec); got.Stdout != want || got.Exit.Status != 0 {
		t.Errorf("%s\nprinted %q, %q on standard error, %+v\nwant    %q", spec.CommandLine, got.Stdout, got.Stderr, got.Exit, want)
	}
}

// containers returns those of a gateway, running or not.
func containers(t *testing.T, d *dockertest.Daemon, gateway string) []container.Summary {
	t.Helper()
	list, err := d.Client.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", "ttydrain.gateway="+gateway)})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// inspect returns the only container of a gateway.
func inspect(t *testing.T, d *dockertest.Daemon, gateway string) container.InspectResponse {
	t.Helper()
	list := containers(t, d, gateway)
	if len(list) != 1 {
		t.Fatalf("%d containers of %s", len(list), gateway)
	}
	answer, err := d.Client.ContainerInspect(t.Context(), list[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Container
}

// gatewayMain runs a gateway with a session, signals when the session runs, and waits to be killed.
func gatewayMain(host string) {
	r, err := docker.New(docker.Options{Host: host, Gateway: os.Getenv("DOCKER_TEST_NAME")})
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Open(context.Background())
	p, err := r.Start(context.Background(), terminal(session.Container{Image: dockertest.Image}, "echo running; sleep 1000"))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(os.Stdout, p.Stdout())
}

func isGone(t *testing.T, d *dockertest.Daemon, id string) bool {
	t.Helper()
	_, err := d.Client.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	return errdefs.IsNotFound(err)
}
