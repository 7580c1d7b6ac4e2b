package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/pipeline/access"
	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/config/reload"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/resources"
	"github.com/ttydrain/ttydrain/pipeline/router"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/busstore"
	"github.com/ttydrain/ttydrain/pipeline/session/docker"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// drainGrace limits the time in which a stopping node delivers the rest.
const drainGrace = 10 * time.Second

// roles are the parts of ttydrain that a process runs.
type roles struct{ gateway, enrich, router bool }

// parseRole reads the value of --role.
func parseRole(role string) (roles, error) {
	switch role {
	case "all":
		return roles{true, true, true}, nil
	case "gateway":
		return roles{gateway: true}, nil
	case "enrich":
		return roles{enrich: true}, nil
	case "router":
		return roles{router: true}, nil
	}
	return roles{}, usageError{fmt.Errorf("--role %q is not known: expected all, gateway, enrich or router", role)}
}

// A node is all of ttydrain in one process, or some of its roles:
//
//	ssh client ─► gateway ─► manager ─► sandbox, docker
//	                            │ capture
//	                            ▼
//	                     bus: TTY ─► enricher ─► bus: LOGS ─► router ─┬─► drain
//	                                                                  ├─► drain
//	admin: /healthz /readyz /metrics /.well-known/jwks.json           └─► …
//
// newNode opens everything that can be missing or in use, and run runs it.
type node struct {
	log      *slog.Logger
	config   atomic.Pointer[config.Config] // in force: see reconfigure
	bus      *bus.Bus
	registry *prometheus.Registry
	admin    admin.Options
	tracer   *tracing.Tracer // nil for none
	reloader *reload.Loop    // nil if the configuration is not reloaded

	// By role; nil without it.
	signer      *signer // of the gateway and the enricher
	authorizer  access.Authorizer
	runtime     *sandbox.Runtime
	containers  *docker.Runtime // nil if no app uses it
	manager     *session.Manager
	gateway     *gateway.Gateway
	sshListener net.Listener
	descriptors resources.Descriptors
	enricher    *enricher.Enricher
	router      *router.Router
	operator    *operate.Operator // of the router alone, which has the permissions for it

	adminListener net.Listener
	ready         atomic.Bool
}

func newNode(ctx context.Context, c *config.Config, r roles, log *slog.Logger) (_ *node, err error) {
	if c.NATS == nil && r != (roles{true, true, true}) {
		return nil, usageError{errors.New("--role runs a part of ttydrain, and the parts need a NATS cluster: configure nats, or leave --role out")}
	}
	n := &node{log: log, registry: prometheus.NewRegistry()}
	n.config.Store(c)
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	connections := resources.AdminConnections{
		Max: c.Admin.Limits.MaxConnections, PerAddress: c.Admin.Limits.MaxConnectionsPerAddress, Socket: admin.SocketConnections,
	}
	if n.descriptors, err = resources.DivideDescriptors(connections); err != nil {
		return nil, err
	}
	// The addresses first: they are in use most often.
	if r.gateway {
		if n.sshListener, err = net.Listen("tcp", c.Gateway.Listen); err != nil {
			return nil, fmt.Errorf("gateway: %w", listenError(err))
		}
	}
	if n.adminListener, err = net.Listen("tcp", c.Admin.Listen); err != nil {
		return nil, fmt.Errorf("admin: %w", listenError(err))
	}
	if n.bus, err = openBus(ctx, c, r, log); err != nil {
		return nil, err
	}
	if n.tracer, err = openTracer(ctx, c, log); err != nil {
		return nil, err
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.registry.MustRegister(buildInfo())
	n.bus.Register(n.registry)
	// Every role exports the metrics of both.
	enricherMetrics, routerMetrics := enricher.NewMetrics(n.registry), router.NewMetrics(n.registry)
	if err = n.makeAdmin(c); err != nil {
		return nil, err
	}
	if r.gateway || r.enrich {
		if n.signer, err = openSigner(c.UserDocument); err != nil {
			return nil, err
		}
		n.admin.JWKS = n.signer.jwks
		document := func(u schema.User) (string, error) { return n.signer.document(c.UserDocument.Issuer, u) }
		if r.gateway {
			if err = n.makeGateway(ctx, c, document); err != nil {
				return nil, err
			}
		}
		if r.enrich {
			n.enricher = enricher.New(enricher.Options{Bus: n.bus, Signer: n.signer, Document: document, Metrics: enricherMetrics, Tracer: n.tracer, Log: log})
		}
	}
	if r.router {
		drains := routedDrains(c, log)
		n.operator = &operate.Operator{Bus: n.bus, Drains: drains}
		n.admin.Operator = n.operator
		n.router, err = router.New(router.Options{Bus: n.bus, Drains: drains, Metrics: routerMetrics, Tracer: n.tracer, Log: log})
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

func listenError(err error) error {
	return fmt.Errorf("%w: is another ttydrain running, or is the address not one of this machine?", err)
}

// clusterPartitions is the number of partitions of a new cluster. Streams that exist keep theirs.
const clusterPartitions = 8

func openBus(ctx context.Context, c *config.Config, r roles, log *slog.Logger) (*bus.Bus, error) {
	o := bus.Options{Store: c.Store, Sync: c.SyncInterval, MaxBytes: c.Streams.MaxBytes, Retention: c.Streams.Retention, Log: log}
	if c.NATS != nil {
		o = busOptions(c, log)
	}
	for _, part := range []struct {
		runs bool
		role bus.Role
	}{{r.gateway, bus.RoleGateway}, {r.enrich, bus.RoleEnrich}, {r.router, bus.RoleRouter}} {
		if part.runs {
			o.Role |= part.role
		}
	}
	return bus.Open(ctx, o)
}

// busOptions returns the options for the configured NATS cluster.
func busOptions(c *config.Config, log *slog.Logger) bus.Options {
	n := c.NATS
	o := bus.Options{
		URL: n.URL, Replicas: n.Replicas, Partitions: clusterPartitions, MaxBytes: c.Streams.MaxBytes, Retention: c.Streams.Retention, CredentialsFile: n.CredentialsFile, NKeySeedFile: n.NKeySeedFile,
		Token: n.Token.Reveal(), Username: n.Username, Password: n.Password.Reveal(), InboxPrefix: n.InboxPrefix, Log: log,
	}
	if n.TLS != (config.TLS{}) {
		o.TLS = func() (*tls.Config, error) {
			t, err := sinks.TLS(n.TLS).Config()
			if err != nil {
				return nil, fmt.Errorf("nats: %w", err)
			}
			return t, nil
		}
	}
	return o
}

// makeGateway opens the runtimes, the session manager and the SSH server.
func (n *node) makeGateway(ctx context.Context, c *config.Config, document func(schema.User) (string, error)) error {
	policy, err := access.New(c, n.log)
	if err != nil {
		return err
	}
	n.authorizer.Use(policy)
	hostKeys, err := gateway.LoadHostKeys(c.Gateway.HostKeys)
	if err != nil {
		return err
	}
	dir := "" // the system's temporary folder
	if c.Store != "" {
		dir = filepath.Join(c.Store, "sandbox")
	}
	o := sandbox.Options{Dir: dir, Hidden: func() []string { return n.config.Load().PrivateFiles() }, Log: n.log}
	if low, high, ok := c.Sandbox.Users(); ok {
		o.Users = sandbox.UserRange{Low: low, High: high}
	}
	for _, feature := range c.Sandbox.Require {
		o.Require = append(o.Require, sandbox.Feature(feature))
	}
	if n.runtime, err = sandbox.New(o); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	caps := n.runtime.Capabilities()
	n.log.Info("the sandbox runtime is ready", "capabilities", caps.String())
	level := slog.LevelWarn
	if !c.UsesRuntime(config.RuntimeSandbox) {
		level = slog.LevelInfo // harmless until an app uses it
	}
	for _, lack := range caps.Missing {
		n.log.Log(ctx, level, "sessions lack a protection on this host", "feature", lack.Feature, "reason", lack.Reason, "remedy", lack.Remedy)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("get the host name: %w", err)
	}
	name := host + "/" + c.Gateway.Listen
	runtimes := map[string]session.Runtime{config.RuntimeSandbox: n.runtime}
	if c.UsesRuntime(config.RuntimeDocker) {
		if n.containers, err = newContainers(c, name, n.log); err != nil {
			return err
		}
		n.containers.Open(ctx)
		runtimes[config.RuntimeDocker] = n.containers
	}
	store := busstore.New(n.bus, n.tracer)
	metrics := session.NewMetrics(n.registry)
	capacity, err := n.bus.Capacity(ctx)
	if err != nil {
		return err
	}
	n.manager = session.NewManager(session.Options{
		Gateway:  name,
		Host:     host,
		App:      func(name string) (session.App, bool) { return sessionApp(n.config.Load(), name, capacity) },
		Runtimes: runtimes,
		Store:    store, Publisher: store, Slots: store,
		Room:     store.Room,
		Subject:  store.Subject,
		Document: document,
		Metrics:  metrics,
		Log:      n.log,
	})
	g := gatewayOptions(c)
	g.HostKeys, g.Authorizer, g.Sessions, g.Metrics, g.Log = hostKeys, &n.authorizer, n.manager, metrics, n.log
	g.Limits = n.gatewayLimits(c)
	g.ConnectionMetrics = gateway.NewMetrics(n.registry)
	n.gateway, err = gateway.New(g)
	return err
}

// gatewayOptions returns the configured options of the gateway.
func gatewayOptions(c *config.Config) gateway.Options {
	return gateway.Options{
		AcceptEnv: c.Gateway.AcceptEnv, StopTimeout: c.Gateway.StopTimeout,
		KeepaliveInterval: c.Gateway.KeepaliveInterval, KeepaliveCount: c.Gateway.KeepaliveCount,
		Limits: gatewayLimits(&c.Gateway),
	}
}

// sessionApp returns an app for the session manager; false if there is none. capacity is that of
// the store, in bytes.
func sessionApp(c *config.Config, name string, capacity int64) (session.App, bool) {
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
		Memory: a.Memory, Pids: int64(a.Pids), SFTPServer: a.SFTPServer, RecordStdin: a.RecordStdin, APIURL: c.APIURL, Duration: stack.SessionDuration, PHI: stack.PHI, Container: appContainer(a),
		Isolation: session.Isolation{User: a.User, NoNetwork: a.Network == "none", Writable: a.Writable},
		Sessions:  stack.Sessions, Plan: stack.Plan, Banner: c.Gateway.Banner,
		Limits: session.Limits{
			Session: session.Limit(stack.Limits.Session), User: session.Limit(stack.Limits.User), Stack: session.Limit(stack.Limits.Stack),
		}.WithDefaults(capacity),
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

func (n *node) isReady(ctx context.Context) error {
	if !n.ready.Load() {
		return errors.New("starting or stopping")
	}
	return n.bus.Ready(ctx)
}

// run runs the node until ctx is done, and then stops it in stages: it accepts no new sessions,
// ends and records the running ones, enriches and then delivers their output until a deadline, and
// stops everything else.
func (n *node) run(ctx context.Context) error {
	defer n.close()
	if n.manager != nil {
		if err := n.recoverSessions(ctx); ctx.Err() != nil {
			return nil // stopped before it had started
		} else if err != nil {
			return err
		}
	}
	var work errgroup.Group
	always := context.WithoutCancel(ctx)
	working, stopWorking := context.WithCancel(always)
	defer stopWorking()
	if n.enricher != nil {
		work.Go(func() error { return n.enricher.Run(working) })
	}
	if n.router != nil {
		work.Go(func() error { return n.router.Run(working) })
	}
	if n.manager != nil {
		work.Go(func() error { n.manager.Tend(working); return nil })
		work.Go(func() error { n.manager.FollowKills(working); return nil })
		work.Go(func() error { n.manager.Govern(working); return nil })
	}
	// If a server fails, the node stops.
	accepting, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	work.Go(func() error {
		err := admin.Serve(working, n.adminListener, n.admin)
		if err != nil {
			failed(err)
		}
		return err
	})
	watching, stopWatching := context.WithCancel(accepting)
	defer stopWatching()
	var watch sync.WaitGroup
	if n.reloader != nil {
		watch.Go(func() { n.reloader.Run(watching) })
	}
	n.ready.Store(true)
	var err error
	if n.gateway != nil {
		n.log.Info("ready", "ssh", n.sshListener.Addr().String(), "admin", n.adminListener.Addr().String())
		err = n.gateway.Serve(accepting, n.sshListener)
	} else {
		n.log.Info("ready", "admin", n.adminListener.Addr().String())
		<-accepting.Done()
	}
	n.ready.Store(false)
	stopWatching() // before the rest is delivered, so that the drains stay the same
	watch.Wait()
	n.log.Info("stopping: delivering the rest", "within", drainGrace)
	grace, cancel := context.WithTimeoutCause(always, drainGrace, errors.New("the time limit has passed"))
	defer cancel()
	if err := n.drain(grace); err != nil {
		n.log.Warn("stopped before everything was delivered: the rest is in the streams for the next start", "error", err)
	}
	stopWorking()
	err = errors.Join(err, work.Wait())
	n.log.Info("stopped")
	return err
}

// recoverSessions records the ends of the sessions that this gateway lost when it died, before new
// ones start. It retries while NATS is unavailable.
func (n *node) recoverSessions(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff(backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.RetryNotify(func() error {
		err := n.manager.Recover(ctx)
		if errors.Is(err, schema.ErrCorrupt) || errors.Is(err, schema.ErrVersion) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(retry, ctx), func(err error, wait time.Duration) {
		n.log.Warn("recording the ends of lost sessions failed: retrying", "error", err, "wait", wait)
	})
}

// drain blocks until the ends of all sessions are recorded, and everything in the streams is
// enriched and delivered.
func (n *node) drain(ctx context.Context) error {
	var err error
	if n.manager != nil {
		err = n.manager.Drain(ctx)
	}
	if n.enricher != nil {
		err = errors.Join(err, n.enricher.Drain(ctx))
	}
	if n.router != nil {
		err = errors.Join(err, n.router.Drain(ctx))
	}
	return err
}

// close closes everything that newNode opened.
func (n *node) close() {
	for _, l := range []net.Listener{n.sshListener, n.adminListener, n.admin.Socket} {
		if l != nil {
			l.Close() // after run it is closed already
		}
	}
	if n.containers != nil {
		if err := n.containers.Close(); err != nil {
			n.log.Warn("containers of sessions are left: the next start removes them", "error", err)
		}
	}
	if n.runtime != nil {
		if err := n.runtime.Close(); err != nil {
			n.log.Warn("closing the sandbox runtime failed", "error", err)
		}
	}
	if n.bus != nil {
		n.bus.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesGrace)
	defer cancel()
	if err := n.tracer.Close(ctx); err != nil {
		n.log.Warn("traces lost", "error", err)
	}
}
