package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/operate"
)

// makeAdmin makes what the admin server serves in every role.
func (n *node) makeAdmin(c *config.Config) error {
	n.admin = admin.Options{
		Ready: n.isReady, Metrics: n.registry, Connections: admin.NewMetrics(n.registry), Sessions: &operate.SessionOperator{Bus: n.bus},
		Hosts: adminHosts(c), Limits: n.descriptors.admin, TrustedProxies: c.Admin.Console.Proxies, Log: n.log,
	}
	var err error
	if n.admin.Token, err = adminToken(c, true); err != nil {
		return err
	}
	if n.admin.Console, err = newConsole(c, n.admin.Token, n.log); err != nil {
		return err
	}
	if t := c.Admin.TLS; t != nil {
		if n.admin.Certificate, err = admin.LoadCertificate(t.CertFile, t.KeyFile, n.log); err != nil {
			return err
		}
	}
	warnOfAdmin(c, n.log)
	if c.Admin.Socket == "" {
		return nil
	}
	// Behind the store, whose lock only one process has.
	if n.admin.Socket, err = listenSocket(c.Admin.Socket); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// adminHosts returns the names and addresses that requests to the admin server may be for, beside
// those it knows by itself.
func adminHosts(c *config.Config) []string {
	hosts := c.Admin.Hosts
	if base := c.Admin.Console.Base; base != nil {
		hosts = append(slices.Clone(hosts), base.Hostname())
	}
	return hosts
}

// warnOfAdmin logs what is not safe, or not there, of the admin server.
func warnOfAdmin(c *config.Config, log *slog.Logger) {
	host, _, _ := net.SplitHostPort(c.Admin.Listen) // it was checked
	ip, err := netip.ParseAddr(host)
	if local := host == "localhost" || err == nil && ip.IsLoopback(); !local && c.Admin.TLS == nil {
		log.Warn("the admin address can be reached from other machines without TLS: the admin token and logins can be read on their way",
			"admin", c.Admin.Listen, "remedy", "set admin.tls, or listen on 127.0.0.1 and let a proxy on this machine speak TLS")
	}
	if c.Admin.Socket == "" && c.Store != "" {
		log.Warn("there is no admin socket, because the path of the store is too long for one: commands use the admin address",
			"remedy", "set admin.socket to a shorter path")
	}
}
