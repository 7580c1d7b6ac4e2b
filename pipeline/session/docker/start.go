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
// where the person can do something about it, or has to tell somebody who can. Wait of the process
// must be called.
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
		r.log.Error("the Docker daemon can't be reached: start it, or correct docker.host", "host", r.host, "operation", spec.Operation, "error", err)
		return nil, &session.Refusal{Message: "the containers of this app can't be reached now: try again in a minute, or tell whoever runs this gateway"}
	}
	return nil, fmt.Errorf("starting session %s: %w", spec.Name, err)
}

func checkSpec(spec session.Spec) error {
	if spec.Name == "" || spec.Container.Image == "" && spec.Container.From == "" {
		return errors.New("starting a session in a container: it has no name, or nothing to make a container of")
	}
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return &session.Refusal{Message: "The app has no command. Give it one, such as [/bin/bash]."}
	}
	for _, argument := range append(slices.Clone(spec.Command), spec.CommandLine) {
		if strings.ContainsRune(argument, 0) {
			return &session.Refusal{Message: "The command has a NUL byte in it, which no program can be given. Leave it out."}
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
	// From here on each step is waited for, whatever becomes of ctx: of a request that was broken off
	// nobody knows what it has done.
	own, cancel := context.WithTimeoutCause(r.ctx, callTimeout, errors.New("the Docker daemon takes too long"))
	defer cancel()
	created, err := r.client.ContainerCreate(own, r.createOptions(t, spec))
	if err != nil {
		return nil, fmt.Errorf("make a container: %w", causeOf(own, err))
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
	// Before it starts, or its first output is lost, and its end may be missed.
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
		// Later daemons have it from the start on.
		if err := p.Resize(spec.Terminal.Size); err != nil {
			r.log.Warn("a terminal's first size could not be set", "operation", spec.Operation, "error", err)
		}
	}
	return p, nil
}

// startError says why a container did not start, in words for the person where that can help.
func startError(spec session.Spec, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "unable to find user"):
		return &session.Refusal{Message: fmt.Sprintf("the app's image has no user %q: correct the app's user", spec.Container.User)}
	case strings.Contains(text, "docker-init"):
		return errors.New("the Docker daemon has no docker-init: install tini or docker-init beside it")
	}
	return fmt.Errorf("start a container: %w", err)
}

// template finds out what the session's container is to be like.
func (r *Runtime) template(ctx context.Context, c session.Container) (*template, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errors.New("the Docker daemon takes too long"))
	defer cancel()
	if c.From != "" {
		answer, err := r.client.ContainerInspect(ctx, c.From, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil, &session.Refusal{Message: fmt.Sprintf("the app's container %q is not there: start the app, or correct from_container", c.From)}
		}
		if err != nil {
			return nil, fmt.Errorf("look at the app's container: %w", causeOf(ctx, err))
		}
		return templateOf(&answer.Container)
	}
	_, err := r.client.ImageInspect(ctx, c.Image)
	if errdefs.IsNotFound(err) {
		if !c.Pull {
			return nil, &session.Refusal{Message: fmt.Sprintf("the app's image %q is not there: have it pulled or built on the Docker host, or set pull: missing", c.Image)}
		}
		err = r.pull(ctx, c.Image)
	}
	if err != nil {
		return nil, fmt.Errorf("look for the app's image: %w", causeOf(ctx, err))
	}
	return &template{image: c.Image}, nil
}

// pull gets an image from its registry, without credentials.
func (r *Runtime) pull(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), pullTimeout, errors.New("it takes too long"))
	defer cancel()
	r.log.Info("an image is pulled", "image", image)
	answer, err := r.client.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		defer answer.Close()
		err = answer.Wait(ctx)
	}
	if err != nil {
		r.log.Error("an image could not be pulled", "image", image, "error", causeOf(ctx, err))
		return &session.Refusal{Message: fmt.Sprintf("the app's image %q is not there, and could not be pulled: tell whoever runs this gateway", image)}
	}
	return nil
}
