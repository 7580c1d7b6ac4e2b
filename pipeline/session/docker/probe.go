package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Probe checks whether the daemon answers, and describes it.
func (r *Runtime) Probe(ctx context.Context) (about string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errors.New("the Docker daemon does not answer"))
	defer cancel()
	version, err := r.client.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", fmt.Errorf("%w: start the Docker daemon, or correct docker.host and the permissions of its socket", causeOf(ctx, err))
	}
	return fmt.Sprintf("Docker %s answers at %s (API %s)", version.Version, r.host, r.client.ClientVersion()), nil
}

// ProbeContainer checks whether the image or container for sessions exists. It does not pull an
// image.
func (r *Runtime) ProbeContainer(ctx context.Context, c session.Container) (about string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errors.New("the Docker daemon does not answer"))
	defer cancel()
	if c.Pull && c.Image != "" {
		if _, err := r.client.ImageInspect(ctx, c.Image); errdefs.IsNotFound(err) {
			return fmt.Sprintf("the image %q does not exist yet, and is pulled for the first session", c.Image), nil
		}
	}
	c.Pull = false
	if _, err := r.template(ctx, c); err != nil {
		return "", err
	}
	if c.From != "" {
		return fmt.Sprintf("the container %q exists", c.From), nil
	}
	return fmt.Sprintf("the image %q exists", c.Image), nil
}
