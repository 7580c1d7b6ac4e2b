package docker_test

import (
	"log/slog"
	"testing"

	"github.com/moby/moby/client/pkg/versions"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker"
	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func newRuntime(t *testing.T, d *dockertest.Daemon, gateway string) *docker.Runtime {
	t.Helper()
	r, err := docker.New(docker.Options{Host: d.Host, Gateway: gateway, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
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
	d := dockertest.Start(t)
	sessiontest.Run(t, sessiontest.Subject{
		Runtime:   func(t *testing.T) session.Runtime { return newRuntime(t, d, "conformance/"+t.Name()) },
		Container: session.Container{Image: dockertest.Image},
		LateSize:  versions.LessThan(d.Client.ClientVersion(), "1.42"),
		Local:     d.Own(),
	})
}
