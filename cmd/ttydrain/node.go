package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/enrich"
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
	signingKey  *enrich.RotatingKey // of the gateway and the enricher
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
	terminal      io.Writer // for started; nil if there is none
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
		if n.sshListener, err = listen(c, "gateway.listen", c.Gateway.Listen); err != nil {
			return nil, err
		}
	}
	if n.adminListener, err = listen(c, "admin.listen", c.Admin.Listen); err != nil {
		return nil, err
	}
	if n.bus, err = openBus(ctx, c, r, log); err != nil {
		switch {
		case ctx.Err() != nil:
		case c.NATS == nil:
			err = storeError(c, err)
		default:
			err = fmt.Errorf("%s: %w", c.Place("nats.url"), err)
		}
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
	if err = n.openAdmin(c); err != nil {
		return nil, err
	}
	if r.gateway || r.enrich {
		ring, err := enrich.LoadKeyRing(c.UserDocument.SigningKey, c.UserDocument.Algorithm, true)
		if err != nil {
			return nil, pathError(c, "user_document.signing_key", "file", err)
		}
		n.signingKey = enrich.NewRotatingKey(ring, c.UserDocument.KeepRetired)
		n.admin.JWKS = n.signingKey.JWKS
		document := func(u schema.User) (string, error) { return n.signingKey.Mint(c.UserDocument.Issuer, u) }
		if r.gateway {
			if err = n.openGateway(ctx, c, document); err != nil {
				return nil, err
			}
		}
		if r.enrich {
			n.enricher = enricher.New(enricher.Options{Bus: n.bus, Signer: n.signingKey, Document: document, Metrics: enricherMetrics, Tracer: n.tracer, Log: log})
		}
	}
	if r.router {
		drains := routedDrains(c, log)
		n.operator = &operate.Operator{Bus: n.bus, Drains: drains}
		n.admin.Operator = n.operator
		o := router.Options{Bus: n.bus, Drains: drains, Metrics: routerMetrics, Tracer: n.tracer, Log: log}
		if o.Sign, err = n.gapSigner(c.UserDocument); err != nil {
			return nil, err
		}
		n.router, err = router.New(o)
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

// gapSigner returns what signs gap records: the signing key, or the router's own key where there is
// none; nil without any.
func (n *node) gapSigner(u config.UserDocument) (func(typ string, object any) (string, error), error) {
	if n.signingKey != nil {
		return n.signingKey.Sign, nil
	}
	if u.GapKey == "" {
		n.log.Warn("gap records are not signed, and audits will report them as damage: see user_document.gap_key")
		return nil, nil
	}
	key, err := enrich.ReadGapKey(u.GapKey)
	if err != nil {
		return nil, err
	}
	return key.Sign, nil
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

// isReady returns why the node is not ready; nil if it is.
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
		if err := n.manager.Recover(ctx); ctx.Err() != nil {
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
	watch.Go(func() { n.started(watching) })
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
