package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Start starts the session's command in a container of its own. The error is a [*session.Refusal]
// if the user can do something about it or ask an operator to. Wait of the process must be called.
func (r *Runtime) Start(ctx context.Context, spec session.Spec) (session.Process, error) {
	if err := checkSpec(spec); err != nil {
		return nil, err
	}
	p, err := r.start(ctx, spec)
	switch {
	case err == nil:
		return p, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*session.Refusal](err); ok {
		return nil, err
	}
	if client.IsErrConnectionFailed(err) {
		r.log.Error("Docker daemon cannot be reached", "host", r.host, "operation", spec.Operation, "error", err, "advice", "start it, or correct docker.host")
		return nil, &session.Refusal{Message: "the containers of this app can't be reached now: try again in a minute, or ask the operators of this gateway"}
	}
	return nil, fmt.Errorf("starting session %s: %w", spec.Name, err)
}

func checkSpec(spec session.Spec) error {
	if spec.Name == "" || spec.Container.Image == "" && spec.Container.From == "" {
		return errors.New("starting a session in a container: it has no name, or neither an image nor a container")
	}
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return &session.Refusal{Message: "The app has no command. Give it one, such as [/bin/bash]."}
	}
	for _, argument := range append(slices.Clone(spec.Command), spec.CommandLine) {
		if strings.ContainsRune(argument, 0) {
			return &session.Refusal{Message: "The command contains a NUL byte, which no argument can have. Remove it."}
		}
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, spec session.Spec) (_ *process, err error) {
	t, err := r.template(ctx, spec.Container)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// From here on, wait for the result of each step even if ctx is done: the effect of an
	// interrupted request would be unknown.
	own, cancel := context.WithTimeoutCause(r.ctx, callTimeout, errors.New("the Docker daemon takes too long"))
	defer cancel()
	created, err := r.client.ContainerCreate(own, r.createOptions(t, spec))
	if err != nil {
		return nil, fmt.Errorf("create a container: %w", causeOf(own, err))
	}
	p := newProcess(r, created.ID, spec)
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	for _, n := range t.further {
		if _, err := r.client.NetworkConnect(own, n.name, client.NetworkConnectOptions{Container: p.id, EndpointConfig: n.endpoint}); err != nil {
			return nil, fmt.Errorf("connect a container to the network %s: %w", n.name, causeOf(own, err))
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Attach before the start: otherwise the first output is lost and the end may be missed.
	attached, err := r.client.ContainerAttach(own, p.id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: !p.tty, DetachKeys: r.detach})
	if err != nil {
		return nil, fmt.Errorf("attach to a container: %w", causeOf(own, err))
	}
	p.attached = &attached.HijackedResponse
	waiting := r.client.ContainerWait(p.ctx, p.id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := r.client.ContainerStart(own, p.id, client.ContainerStartOptions{}); err != nil {
		go func() { // ends when abort has cancelled p.ctx
			select {
			case <-waiting.Result:
			case <-waiting.Error:
			}
		}()
		return nil, startError(spec, causeOf(own, err))
	}
	p.follow(waiting)
	if ctx.Err() != nil {
		p.Kill()
		p.Wait()
		return nil, context.Cause(ctx)
	}
	if p.tty {
		// later daemons set it from the start
		if err := p.Resize(spec.Terminal.Size); err != nil {
			r.log.Warn("initial terminal size not set", "operation", spec.Operation, "error", err)
		}
	}
	return p, nil
}

// startError explains why a container did not start, as a refusal if that helps the user.
func startError(spec session.Spec, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "unable to find user"):
		return &session.Refusal{Message: fmt.Sprintf("the app's image has no user %q: correct the app's user", spec.Container.User)}
	case strings.Contains(text, "docker-init"):
		return errors.New("the Docker daemon has no docker-init: install tini or docker-init beside it")
	}
	return fmt.Errorf("start a container: %w", err)
}

// template determines the configuration of the session's container.
func (r *Runtime) template(ctx context.Context, c session.Container) (*template, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errors.New("the Docker daemon takes too long"))
	defer cancel()
	if c.From != "" {
		response, err := r.client.ContainerInspect(ctx, c.From, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil, &session.Refusal{Message: fmt.Sprintf("the app's container %q does not exist: start the app, or correct from_container", c.From)}
		}
		if err != nil {
			return nil, fmt.Errorf("inspect the app's container: %w", causeOf(ctx, err))
		}
		return templateOf(&response.Container)
	}
	_, err := r.client.ImageInspect(ctx, c.Image)
	if errdefs.IsNotFound(err) {
		if !c.Pull {
			return nil, &session.Refusal{Message: fmt.Sprintf("the app's image %q does not exist: pull or build it on the Docker host, or set pull: missing", c.Image)}
		}
		err = r.pull(ctx, c.Image)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect the app's image: %w", causeOf(ctx, err))
	}
	return &template{image: c.Image}, nil
}

// pull pulls an image from its registry, without credentials.
func (r *Runtime) pull(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), pullTimeout, errors.New("it takes too long"))
	defer cancel()
	r.log.Info("pulling image", "image", image)
	response, err := r.client.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		defer response.Close()
		err = response.Wait(ctx)
	}
	if err != nil {
		r.log.Error("image not pulled", "image", image, "error", causeOf(ctx, err))
		return &session.Refusal{Message: fmt.Sprintf("the app's image %q does not exist, and could not be pulled: ask the operators of this gateway", image)}
	}
	return nil
}
