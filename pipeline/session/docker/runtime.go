package docker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

const (
	// callTimeout limits a request to the daemon that starts or ends something.
	callTimeout = time.Minute
	// pullTimeout limits pulling an image.
	pullTimeout = 10 * time.Minute
	// removeTimeout is the time for which a session's end waits for the removal of its container;
	// then it continues in the background.
	removeTimeout = 10 * time.Second
	// killTimeout is the time for a killed container to end, before the session is given up.
	killTimeout = 20 * time.Second
	// streamGrace is the time for the output of an ended container to reach its end.
	streamGrace = 10 * time.Second
	// closeTimeout limits the removal of remaining containers in Close.
	closeTimeout = 10 * time.Second
)

// Labels of sessions' containers.
const (
	labelPrefix    = "ttydrain."
	labelGateway   = labelPrefix + "gateway"
	labelRun       = labelPrefix + "run" // one run of a gateway
	labelOperation = labelPrefix + "operation"
	labelApp       = labelPrefix + "app"
)

// Options configure a [Runtime].
type Options struct {
	// Host is the daemon's address, such as unix:///var/run/docker.sock or
	// tcp://docker.example.com:2376.
	Host string
	// TLS is the configuration for a daemon at a tcp address, or nil.
	TLS *tls.Config
	// Gateway is the name of this gateway, which stays the same over restarts. It must be unique
	// among the gateways that use the daemon at the same time.
	Gateway string
	// Log receives problems that are not errors of a session; nil is slog.Default().
	Log *slog.Logger
}

// Runtime starts sessions in containers. It is safe for concurrent use.
type Runtime struct {
	client  *client.Client
	host    string
	gateway string
	run     string // identifies this run of the gateway
	detach  string // detachKeys for attaching
	log     *slog.Logger

	ctx  context.Context // done at Close
	stop context.CancelCauseFunc
	work sync.WaitGroup // background work, which ends with ctx

	mu    sync.Mutex
	swept bool // guarded by mu: orphans have been removed
}

var _ session.Runtime = (*Runtime)(nil)

var errClosed = errors.New("the gateway has stopped")

// New returns a runtime without contacting the daemon: see [Runtime.Open].
func New(o Options) (*Runtime, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	r := &Runtime{client: c, host: o.Host, gateway: o.Gateway, run: rand.Text(), log: o.Log}
	if r.log == nil {
		r.log = slog.Default()
	}
	r.detach = detachKeys()
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	return r, nil
}

func newClient(o Options) (*client.Client, error) {
	options := []client.Opt{client.WithUserAgent("ttydrain")}
	if o.TLS != nil {
		options = append(options, client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{TLSClientConfig: o.TLS, MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: client.CheckRedirect,
		}))
	}
	c, err := client.New(append(options, client.WithHost(o.Host))...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	return c, nil
}

// detachKeys returns the keys that a client would have to type to detach from its terminal. The
// daemon requires some, and its default keys would take Ctrl-P from every shell. These begin with a
// byte that never occurs in UTF-8, followed by unguessable ones.
func detachKeys() string {
	return "\xff," + strings.Join(strings.Split(rand.Text(), ""), ",")
}

// Open checks whether the daemon answers, and removes the containers that this gateway left behind
// when it was killed. If the daemon does not answer, Open logs it and retries in the background
// until it does or [Runtime.Close] is called.
func (r *Runtime) Open(ctx context.Context) {
	err := r.open(ctx)
	if err == nil {
		return
	}
	r.log.Error("Docker daemon not usable, sessions of its apps are refused; retrying", "host", r.host, "error", err,
		"advice", "start it, or correct docker.host and the permissions of its socket")
	r.work.Go(func() { // ends after success, or with r.ctx
		r.retry(func() error { return r.open(r.ctx) })
	})
}

func (r *Runtime) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errors.New("the daemon does not answer"))
	defer cancel()
	version, err := r.client.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return causeOf(ctx, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swept {
		return nil
	}
	if err := r.sweep(ctx); err != nil {
		return causeOf(ctx, err)
	}
	r.swept = true
	r.log.Info("docker runtime ready", "host", r.host, "version", version.Version, "api", r.client.ClientVersion())
	return nil
}

// sweep removes the containers of earlier runs of this gateway.
func (r *Runtime) sweep(ctx context.Context) error {
	list, err := r.client.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: make(client.Filters).Add("label", labelGateway+"="+r.gateway)})
	if err != nil {
		return fmt.Errorf("look for containers that were left behind: %w", err)
	}
	var failed []error
	for _, c := range list.Items {
		if c.Labels[labelRun] == r.run {
			continue
		}
		r.log.Warn("removing container that this gateway left behind when it was killed", "container", c.ID, "operation", c.Labels[labelOperation])
		failed = append(failed, r.remove(ctx, c.ID))
	}
	return errors.Join(failed...)
}

// remove kills a container and removes it with its anonymous volumes.
func (r *Runtime) remove(ctx context.Context, id string) error {
	_, err := r.client.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case err == nil, errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress"):
		return nil // by an earlier request
	}
	return fmt.Errorf("remove container %s: %w", id, err)
}

// discard removes a container, retrying in the background.
func (r *Runtime) discard(id string) {
	ctx, cancel := context.WithTimeout(r.ctx, removeTimeout)
	err := r.remove(ctx, id)
	cancel()
	if err == nil {
		return
	}
	r.log.Warn("container of session not removed, retrying", "container", id, "error", err)
	r.work.Go(func() { // ends when it is removed, or with r.ctx
		r.retry(func() error {
			ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
			defer cancel()
			return r.remove(ctx, id)
		})
	})
}

// retry calls f with exponential backoff until it succeeds or the runtime is closed.
func (r *Runtime) retry(f func() error) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(f, backoff.WithContext(wait, r.ctx))
}

// Close removes the remaining containers. All sessions must have ended.
func (r *Runtime) Close() error {
	r.stop(errClosed)
	r.work.Wait()
	defer r.client.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.swept {
		return nil // the daemon never answered
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	list, err := r.client.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: make(client.Filters).Add("label", labelGateway+"="+r.gateway, labelRun+"="+r.run)})
	if err != nil {
		return fmt.Errorf("look for containers that are left: %w", err)
	}
	var failed []error
	for _, c := range list.Items {
		failed = append(failed, r.remove(ctx, c.ID))
	}
	return errors.Join(failed...)
}

// causeOf returns the cause of ctx if it is done, joined with err; otherwise err.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}
