package main

import (
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

// gatewayLimits returns the configured limits of the SSH server, reduced to the connections that the
// limit of open files allows.
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
