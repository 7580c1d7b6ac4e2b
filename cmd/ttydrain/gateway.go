package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/access"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/busstore"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/schema"
)

// openGateway opens the runtimes, the session manager and the SSH server.
func (n *node) openGateway(ctx context.Context, c *config.Config, document func(schema.User) (string, error)) error {
	policy, err := access.New(c, n.log)
	if err != nil {
		return err
	}
	n.authorizer.Use(policy)
	hostKeys, err := gateway.LoadHostKeys(c.Gateway.HostKeys)
	if err != nil {
		return pathError(c, "gateway.host_key", "file", err)
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
		n.log.Log(ctx, level, "sessions lack a protection on this host", "feature", lack.Feature, "reason", lack.Reason, "advice", lack.Remedy)
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

// gatewayLimits returns the configured limits of the SSH server, reduced to the connections that
// the limit of open files allows.
func (n *node) gatewayLimits(c *config.Config) gateway.Limits {
	limits := gatewayLimits(&c.Gateway)
	if d := n.descriptors; limits.MaxConnections > d.Gateway {
		n.log.Info("the limit of open files bounds the SSH connections: raise it for more (ulimit -n, LimitNOFILE of systemd)",
			"open_files", d.Limit, "max_connections", d.Gateway, "configured", limits.MaxConnections)
		limits.MaxConnections = d.Gateway
	}
	return limits
}

// gatewayLimits returns the configured limits of the SSH server.
func gatewayLimits(g *config.Gateway) gateway.Limits {
	p := &g.PerSourcePenalties
	return gateway.Limits{
		MaxStartups:           gateway.Startups{Begin: g.Startups.Begin, Rate: g.Startups.Percent, Full: g.Startups.Full},
		PerSourceMaxStartups:  g.PerSourceMaxStartups,
		PerSourceNetBlockSize: gateway.NetBlockSize(g.NetBlock),
		PerSourcePenalties: gateway.Penalties{
			Disabled: !p.Enabled, Crash: p.Crash, AuthFail: p.AuthFail, NoAuth: p.NoAuth, GraceExceeded: p.GraceExceeded,
			Max: p.Max, Min: p.Min, MaxSources4: p.MaxSources4, MaxSources6: p.MaxSources6,
		},
		PerSourcePenaltyExempt: g.Exempt, LoginGraceTime: g.LoginGraceTime, MaxAuthTries: g.MaxAuthTries,
		MaxSessions: g.MaxSessions, MaxConnections: g.MaxConnections, MaxConnectionsPerUser: g.MaxConnectionsPerUser,
		MaxSessionsPerUser: g.MaxSessionsPerUser, UnusedConnectionTimeout: g.UnusedConnectionTimeout,
	}
}
