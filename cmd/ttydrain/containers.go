package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker"
	"github.com/ttydrain/ttydrain/sinks"
)

// newContainers returns the docker runtime of a gateway.
func newContainers(c *config.Config, gateway string, log *slog.Logger) (*docker.Runtime, error) {
	o := docker.Options{Host: c.Docker.Host, Gateway: gateway, Log: log}
	if c.Docker.TLS != (config.TLS{}) {
		var err error
		if o.TLS, err = sinks.TLS(c.Docker.TLS).Config(); err != nil {
			return nil, fmt.Errorf("docker: %w", err)
		}
	}
	return docker.New(o)
}

// appContainer returns the settings of the containers of an app's sessions.
func appContainer(a *config.App) session.Container {
	if a.Runtime != config.RuntimeDocker {
		return session.Container{}
	}
	return session.Container{Image: a.Image, From: a.FromContainer, Pull: a.Pull == "missing", User: a.User}
}

// probeContainers checks the Docker daemon, and the image or container of each app that uses it,
// prints the results, and returns the number of failures.
func probeContainers(ctx context.Context, c *config.Config) (failed int, err error) {
	if !c.UsesRuntime(config.RuntimeDocker) {
		return 0, nil
	}
	r, err := newContainers(c, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	about, err := r.Probe(ctx)
	if err != nil {
		fmt.Printf("docker: FAILED: %v [%s]\n", err, config.CodeDocker)
		return 1, nil
	}
	fmt.Printf("docker: %s\n", about)
	for i := range c.Apps {
		a := &c.Apps[i]
		if a.Runtime != config.RuntimeDocker {
			continue
		}
		about, err := r.ProbeContainer(ctx, appContainer(a))
		if err != nil {
			failed++
			fmt.Printf("app %s: FAILED: %v [%s]\n", a.Name, err, config.CodeDocker)
			continue
		}
		fmt.Printf("app %s: %s\n", a.Name, about)
	}
	return failed, nil
}
