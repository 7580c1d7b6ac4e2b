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
	// callTimeout is how long the daemon may take for one request that starts or ends something.
	callTimeout = time.Minute
	// pullTimeout is how long it may take to get an image.
	pullTimeout = 10 * time.Minute
	// removeTimeout is how long a session's end waits for the removal of its container, which else
	// goes on in the background.
	removeTimeout = 10 * time.Second
	// killTimeout is how long a killed container may take to end, before the session is given up.
	killTimeout = 20 * time.Second
	// streamGrace is how long the output of a container that has ended may take to come to its end.
	streamGrace = 10 * time.Second
	// closeTimeout is how long Close tries to remove what is left.
	closeTimeout = 10 * time.Second
)

// The labels of sessions' containers.
const (
	labelPrefix    = "ttydrain."
	labelGateway   = labelPrefix + "gateway"
	labelRun       = labelPrefix + "run" // one life of a gateway
	labelOperation = labelPrefix + "operation"
	labelApp       = labelPrefix + "app"
)

// Options of a [Runtime].
type Options struct {
	// Host is where the daemon listens, such as unix:///var/run/docker.sock or
	// tcp://docker.example.com:2376.
	Host string
	// TLS is for a daemon at a tcp address, or nil.
	TLS *tls.Config
	// Gateway names this gateway, and lasts over its restarts. No two that run at once, with one
	// daemon, have the same.
	Gateway string
	// Log gets what goes wrong without being an error of a session's; nil is slog.Default().
	Log *slog.Logger
}

// A Runtime starts sessions in containers. It may be used by several goroutines at once.
type Runtime struct {
	client  *client.Client
	host    string
	gateway string
	run     string // this life of the gateway's
	detach  string // detachKeys of attaching
	log     *slog.Logger

	ctx  context.Context // done at Close
	stop context.CancelCauseFunc
	work sync.WaitGroup // what goes on in the background, and ends with ctx

	mu    sync.Mutex
	swept bool // guarded by mu: the orphans are removed
}

var _ session.Runtime = (*Runtime)(nil)

var errClosed = errors.New("the gateway has stopped")

// New makes a runtime, and asks nothing of the daemon yet: see [Runtime.Open].
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

// detachKeys is what a client would have to type to detach from its terminal. The daemon knows no
// way to have none, and its usual ones take Ctrl-P from every shell. This begins with a byte that
// UTF-8 never has, and nobody can guess the rest.
func detachKeys() string {
	return "\xff," + strings.Join(strings.Split(rand.Text(), ""), ",")
}

// Open asks the daemon whether it is there, and removes the containers that this gateway left
// behind when it was killed. Where the daemon does not answer, that is told in the log, and tried
// again until it does or [Runtime.Close] is called.
func (r *Runtime) Open(ctx context.Context) {
	err := r.open(ctx)
	if err == nil {
		return
	}
	r.log.Error("the Docker daemon can't be used, so sessions of its apps are refused: "+
		"start it, or correct docker.host and who may use its socket; ttydrain goes on trying", "host", r.host, "error", err)
	r.work.Go(func() { // ends when it has succeeded, or with r.ctx
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
	r.log.Info("the docker runtime is ready", "host", r.host, "version", version.Version, "api", r.client.ClientVersion())
	return nil
}

// sweep removes the containers of this gateway's earlier lives.
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
		r.log.Warn("a container was left behind by this gateway when it was killed, and is removed", "container", c.ID, "operation", c.Labels[labelOperation])
		failed = append(failed, r.remove(ctx, c.ID))
	}
	return errors.Join(failed...)
}

// remove kills a container and removes it, with its own volumes.
func (r *Runtime) remove(ctx context.Context, id string) error {
	_, err := r.client.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case err == nil, errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress"):
		return nil // by who asked first
	}
	return fmt.Errorf("remove container %s: %w", id, err)
}

// discard is [Runtime.remove] for as long as it takes.
func (r *Runtime) discard(id string) {
	ctx, cancel := context.WithTimeout(r.ctx, removeTimeout)
	err := r.remove(ctx, id)
	cancel()
	if err == nil {
		return
	}
	r.log.Warn("a session's container can't be removed now; it is tried again", "container", id, "error", err)
	r.work.Go(func() { // ends when it is gone, or with r.ctx
		r.retry(func() error {
			ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
			defer cancel()
			return r.remove(ctx, id)
		})
	})
}

// retry calls f, less and less often, until it succeeds or the runtime is closed.
func (r *Runtime) retry(f func() error) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(f, backoff.WithContext(wait, r.ctx))
}

// Close removes what is left. All sessions must have ended before.
func (r *Runtime) Close() error {
	r.stop(errClosed)
	r.work.Wait()
	defer r.client.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.swept {
		return nil // the daemon was never there
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

// causeOf is the cause of ctx where that is why there is an error.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}
