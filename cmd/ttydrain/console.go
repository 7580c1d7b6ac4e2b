package main

import (
	"log/slog"
	"net/http"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/sinks"
)

// newConsole returns the console of a configuration; nil if it is disabled, or if there is no way
// to log in.
func newConsole(c *config.Config, token string, log *slog.Logger) (*console.Console, error) {
	wanted := &c.Admin.Console
	o := console.Options{URL: wanted.Base, Trusted: wanted.Proxies, PHI: wanted.ShowPHI, Log: log}
	if wanted.OIDC == nil && wanted.ProxyHeader == "" || wanted.TokenLogin {
		o.Token = token
	}
	if wanted.ProxyHeader != "" {
		o.Proxy = &console.Proxy{Header: wanted.ProxyHeader, Trusted: wanted.Proxies, Allowed: wanted.AllowedEmails}
	}
	if p := wanted.OIDC; p != nil {
		transport, err := sinks.TLS(p.TLS).Transport(0)
		if err != nil {
			return nil, sinks.SettingsWithin("oidc", err)
		}
		o.OIDC = &console.OIDC{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), Scopes: p.Scopes,
			AllowedEmails: p.AllowedEmails, AllowedGroups: p.AllowedGroups, GroupsClaim: p.GroupsClaim, Client: &http.Client{Transport: transport}}
	}
	if wanted.Disabled || o.Token == "" && o.Proxy == nil && o.OIDC == nil {
		return nil, nil
	}
	return console.New(o)
}
