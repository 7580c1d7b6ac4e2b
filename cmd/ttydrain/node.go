package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline"
	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/schema"
)

// drainGrace is how long a node that stops goes on delivering what was shown.
const drainGrace = 10 * time.Second

// A node is all of ttydrain in one process:
//
//	ssh client ─► gateway ─► manager ─► sandbox
//	                            │ capture
//	                            ▼
//	                     bus: TTY ─► enricher ─► bus: LOGS ─► router ─┬─► drain
//	                                                                  ├─► drain
//	admin: /healthz /readyz /metrics /.well-known/jwks.json           └─► …
//
// It is made by newNode, which opens everything that may be missing or taken, and run by run.
type node struct {
	log      *slog.Logger
	bus      *bus.Bus
	runtime  *sandbox.Runtime
	manager  *session.Manager
	gateway  *gateway.Gateway
	enricher *pipeline.Enricher
	router   *pipeline.Router
	admin    admin.Options

	sshListener   net.Listener
	adminListener net.Listener
	ready         atomic.Bool
}

func newNode(ctx context.Context, c *config.Config, log *slog.Logger) (_ *node, err error) {
	n := &node{log: log}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	// The addresses first: they are what is taken most often.
	if n.sshListener, err = net.Listen("tcp", c.Gateway.Listen); err != nil {
		return nil, fmt.Errorf("gateway: %w", listenError(err))
	}
	if n.adminListener, err = net.Listen("tcp", c.Admin.Listen); err != nil {
		return nil, fmt.Errorf("admin: %w", listenError(err))
	}
	hostKey, err := gateway.LoadHostKey(c.Gateway.HostKey)
	if err != nil {
		return nil, err
	}
	key, err := enrich.LoadKey(c.UserDocument.SigningKey, c.UserDocument.Algorithm)
	if err != nil {
		return nil, err
	}
	if n.bus, err = openBus(ctx, c, log); err != nil {
		return nil, err
	}
	document := func(u schema.User) (string, error) { return key.Mint(c.UserDocument.Issuer, u, time.Now()) }
	if err = n.makeGateway(c, hostKey, document); err != nil {
		return nil, err
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := pipeline.NewMetrics(registry)
	n.enricher = pipeline.NewEnricher(pipeline.EnricherOptions{Bus: n.bus, Signer: key, Document: document, Metrics: metrics, Log: log})
	n.router, err = pipeline.NewRouter(pipeline.RouterOptions{Bus: n.bus, Drains: routedDrains(c, log), Metrics: metrics, Log: log})
	if err != nil {
		return nil, err
	}
	jwks, err := key.JWKS()
	if err != nil {
		return nil, err
	}
	n.admin = admin.Options{Ready: n.isReady, Metrics: registry, JWKS: jwks}
	return n, nil
}

func listenError(err error) error {
	return fmt.Errorf("%w: is another ttydrain running, or is the address not this machine's?", err)
}

func openBus(ctx context.Context, c *config.Config, log *slog.Logger) (*bus.Bus, error) {
	return bus.Open(ctx, bus.Options{Store: c.Store, Sync: c.SyncInterval, Log: log})
}

// makeGateway makes what sessions need: the runtime, the manager, and the SSH server in front.
func (n *node) makeGateway(c *config.Config, hostKey ssh.Signer, document func(schema.User) (string, error)) (err error) {
	if n.runtime, err = sandbox.New(sandbox.Options{Dir: filepath.Join(c.Store, "sandbox"), Log: n.log}); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	n.log.Info("the sandbox runtime is ready", "capabilities", n.runtime.Capabilities().String())
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host's name: %w", err)
	}
	store := sessionStore{n.bus}
	n.manager = session.NewManager(session.Options{
		Gateway:  host + "/" + c.Gateway.Listen,
		Host:     host,
		App:      func(name string) (session.App, bool) { return sessionApp(c, name) },
		Runtimes: map[string]session.Runtime{"sandbox": n.runtime},
		Store:    store, Publisher: store,
		Subject:  func(op *schema.Operation) string { return schema.SubjectTTY(op, n.bus.Partitions()) },
		Document: document,
		Log:      n.log,
	})
	n.gateway, err = gateway.New(gateway.Options{
		HostKeys: []ssh.Signer{hostKey}, Authorizer: c, Sessions: n.manager, AcceptEnv: c.Gateway.AcceptEnv,
		StopTimeout: c.Gateway.StopTimeout, Log: n.log,
	})
	return err
}

// sessionApp is an app as the session manager wants it.
func sessionApp(c *config.Config, name string) (session.App, bool) {
	a, ok := c.App(name)
	if !ok {
		return session.App{}, false
	}
	stack, ok := c.Stack(a.Stack)
	if !ok {
		return session.App{}, false
	}
	app := session.App{
		Name: a.Name, ID: a.ID, Stack: a.Stack, Service: a.Service, Runtime: a.Runtime, Command: a.Command, Root: a.Root,
		Memory: a.Memory, Duration: stack.SessionDuration, PHI: stack.PHI,
	}
	for name, value := range a.Env {
		app.Env = append(app.Env, name+"="+value.Reveal())
	}
	slices.Sort(app.Env)
	for _, d := range c.Drains {
		if d.Matches(a.Stack, a.Name) {
			app.Drains = append(app.Drains, d.Name)
		}
	}
	return app, true
}

// sessionStore is the bus as sessions want it.
type sessionStore struct{ *bus.Bus }

func (s sessionStore) Publish(subject, id string, data []byte) session.Publish {
	return chunkPublish{s.PublishChunk(subject, id, data)}
}

func (s sessionStore) LastChunk(ctx context.Context, subject string) ([]byte, bool, error) {
	m, ok, err := s.Last(ctx, schema.StreamTTY, subject)
	return m.Data, ok, err
}

type chunkPublish struct{ *bus.Publish }

func (p chunkPublish) Wait(ctx context.Context) error {
	_, err := p.Publish.Wait(ctx)
	return err
}

func (n *node) isReady(ctx context.Context) error {
	if !n.ready.Load() {
		return errors.New("starting or stopping")
	}
	return n.bus.Ready(ctx)
}

// run runs until ctx is done, and then stops in stages: no new sessions, the running ones ended and recorded; what
// they showed enriched, then delivered, each to a deadline; and all the rest.
func (n *node) run(ctx context.Context) error {
	if err := n.manager.Recover(ctx); err != nil {
		return err
	}
	var work errgroup.Group
	always := context.WithoutCancel(ctx)
	enriching, stopEnriching := context.WithCancel(always)
	routing, stopRouting := context.WithCancel(always)
	serving, stopServing := context.WithCancel(always)
	defer func() { stopEnriching(); stopRouting(); stopServing() }()
	work.Go(func() error { return n.enricher.Run(enriching) })
	work.Go(func() error { return n.router.Run(routing) })
	// A server that fails by itself is a reason to stop all.
	accepting, failed := context.WithCancelCause(ctx)
	work.Go(func() error {
		err := admin.Serve(serving, n.adminListener, n.admin)
		if err != nil {
			failed(err)
		}
		return err
	})
	n.ready.Store(true)
	n.log.Info("ready", "ssh", n.sshListener.Addr().String(), "admin", n.adminListener.Addr().String())

	err := n.gateway.Serve(accepting, n.sshListener)
	n.ready.Store(false)
	n.log.Info("stopping: delivering what is left", "within", drainGrace)
	grace, cancel := context.WithTimeoutCause(always, drainGrace, errors.New("the time for it is over"))
	defer cancel()
	if err := errors.Join(n.enricher.Drain(grace), n.router.Drain(grace)); err != nil {
		n.log.Warn("not everything was delivered before the stop: the rest is in the streams, and the next start goes on with it", "error", err)
	}
	stopEnriching()
	stopRouting()
	stopServing()
	err = errors.Join(err, work.Wait())
	n.close()
	n.log.Info("stopped")
	return err
}

// close releases what newNode opened.
func (n *node) close() {
	for _, l := range []net.Listener{n.sshListener, n.adminListener} {
		if l != nil {
			l.Close() // closed already after a run
		}
	}
	if n.runtime != nil {
		if err := n.runtime.Close(); err != nil {
			n.log.Warn("the sandbox runtime left something behind", "error", err)
		}
	}
	if n.bus != nil {
		n.bus.Close()
	}
}
