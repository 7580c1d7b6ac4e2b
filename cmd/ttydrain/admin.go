package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
)

// openAdmin opens the socket of the admin server, and sets the options of the admin server that are
// the same in every role.
func (n *node) openAdmin(c *config.Config) error {
	n.admin = admin.Options{
		Ready: n.isReady, Metrics: n.registry, Connections: admin.NewMetrics(n.registry), Sessions: &operate.SessionOperator{Bus: n.bus}, Trail: &trail.Trail{Bus: n.bus},
		Hosts: adminHosts(c), Limits: admin.Limits{Connections: n.descriptors.Admin, PerAddress: n.descriptors.AdminPerAddress}, TrustedProxies: c.Admin.Console.Proxies, Log: n.log,
	}
	var err error
	if n.admin.Token, err = adminToken(c, true); err != nil {
		return err
	}
	n.admin.Tokens = adminTokens(c)
	if n.admin.Console, err = newConsole(c, localURL(c, n.adminListener.Addr()), n.admin.Token, n.log); err != nil {
		return err
	}
	if t := c.Admin.TLS; t != nil {
		if n.admin.Certificate, err = admin.LoadCertificate(t.CertFile, t.KeyFile, n.log); err != nil {
			return err
		}
	}
	warnAboutAdmin(c, n.log)
	if c.Admin.Socket == "" {
		return nil
	}
	// After the store was opened, whose lock only one process has.
	if n.admin.Socket, err = admin.ListenSocket(c.Admin.Socket); err != nil {
		return pathError(c, "admin.socket", "path", err)
	}
	return nil
}

// adminTokens returns the tokens with roles.
func adminTokens(c *config.Config) (tokens role.Tokens) {
	for _, t := range c.Admin.Tokens {
		tokens = append(tokens, role.Token{Name: t.Name, Secret: t.Token.Reveal(), Grant: grantOf(t.Grant)})
	}
	return tokens
}

func grantOf(g config.Grant) role.Grant { return role.Grant{Role: role.Role(g.Role), PHI: g.PHI} }

// adminHosts returns the names and addresses that requests to the admin server may be for, in
// addition to those that it finds out itself.
func adminHosts(c *config.Config) []string {
	hosts := c.Admin.Hosts
	if base := c.Admin.Console.Base; base != nil {
		hosts = append(slices.Clone(hosts), base.Hostname())
	}
	return hosts
}

// warnAboutAdmin logs unsafe settings of the admin server, and a missing socket.
func warnAboutAdmin(c *config.Config, log *slog.Logger) {
	if c.Admin.PlainHTTP && !config.OnLoopback(c.Admin.Listen) {
		log.Warn("the admin address can be reached from other machines without TLS: the admin token and logins can be read on the network",
			"admin", c.Admin.Listen, "advice", "set admin.tls, or listen on 127.0.0.1 with a proxy for TLS on this machine")
	}
	if c.Admin.Socket == "" && c.Store != "" {
		log.Warn("no admin socket: the path of the store is too long for one, and commands use the admin address",
			"advice", "set admin.socket to a shorter path")
	}
}

// adminToken returns the token of operators' commands: that of the configuration or, with an
// embedded server, that of the file admin_token in the store, which is created if it is missing and
// create is set. It is "" if there is none.
func adminToken(c *config.Config, create bool) (string, error) {
	if c.Admin.Token.IsSet() || c.Store == "" {
		return c.Admin.Token.Reveal(), nil
	}
	path := filepath.Join(c.Store, "admin_token")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		data = []byte(rand.Text())
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w: is serve running with this configuration, and may you read its store?", err)
	}
	return strings.TrimSpace(string(data)), nil
}
