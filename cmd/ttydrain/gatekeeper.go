package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/sinks"
)

// A gatekeeper is what the gateway asks of a node: who may log in and open sessions, by the
// configuration that is in force.
type gatekeeper struct{ node *node }

var errNotAllowed = errors.New("no such app, no such key, or the key may not use the app")

// Authorize says what a key or a certificate opens.
func (g gatekeeper) Authorize(login gateway.Login) (gateway.Grant, error) {
	c := g.node.config.Load()
	cert, ok := login.Key.(*ssh.Certificate)
	if !ok {
		user, ok := c.Authorize(login.App, login.Key)
		if !ok {
			return gateway.Grant{}, errNotAllowed
		}
		app, _ := c.App(login.App) // gateway.NoApp is none
		return gateway.Grant{User: user, FileTransfer: app.FileTransfer == config.FileTransferRecord}, nil
	}
	app, ok := c.App(login.App)
	if !ok {
		return gateway.Grant{}, errNotAllowed
	}
	door := identity.Door{App: app.Name, Stack: app.Stack, Remote: login.Remote}
	person, err := identity.CheckCertificate(c.Authorities(), cert, door, time.Now())
	if err != nil {
		return gateway.Grant{}, err
	}
	return gateway.Grant{User: person.User, ForceCommand: person.ForceCommand, NoTerminal: person.NoTerminal, FileTransfer: app.FileTransfer == config.FileTransferRecord}, nil
}

// Apps are the names of the configured apps.
func (g gatekeeper) Apps() (names []string) {
	for _, a := range g.node.config.Load().Apps {
		names = append(names, a.Name)
	}
	return names
}

// Admit asks again what the key or certificate opens, and what the token that came along says.
func (g gatekeeper) Admit(ctx context.Context, login gateway.Login, token string) (gateway.Grant, error) {
	grant, err := g.Authorize(login)
	if err != nil {
		return grant, fmt.Errorf("the login is no longer good: %w", err)
	}
	c, tokens := g.node.config.Load(), g.node.tokens.Load()
	if tokens == nil || c.AccessToken == nil {
		return grant, nil
	}
	if token == "" {
		if c.AccessToken.Required {
			return grant, &session.Refusal{Message: "an access token is needed: send it as ACCESS_TOKEN (ssh -o SendEnv=ACCESS_TOKEN)"}
		}
		return grant, nil
	}
	claims, err := tokens.Verify(ctx, token)
	if err != nil {
		return grant, &session.Refusal{Message: err.Error()} // which has nothing of the token in it
	}
	app, ok := c.App(login.App)
	switch {
	case !ok:
		return grant, errNotAllowed
	case claims.User.ID != grant.User.ID:
		return grant, &session.Refusal{Message: "the access token is refused: it is another user's than the key"}
	case !claims.Allows(app.Name, app.Stack):
		return grant, &session.Refusal{Message: "the access token is refused: it is not for this app"}
	}
	if claims.User.Name != "" {
		grant.User.Name = claims.User.Name
	}
	if claims.User.Email != "" {
		grant.User.Email = claims.User.Email
	}
	return grant, nil
}

// openTokens makes the verifier of access tokens; nil where none are configured.
func openTokens(a *config.AccessToken, log *slog.Logger) (*identity.Tokens, error) {
	if a == nil {
		return nil, nil
	}
	o := identity.TokenOptions{Issuer: a.Issuer, Audience: a.Audience, Algorithms: a.Algorithms, Keys: a.Keys}
	if a.JWKSURL == "" {
		return identity.NewTokens(o), nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.TLS != (config.TLS{}) {
		var err error
		if transport.TLSClientConfig, err = sinks.TLS(a.TLS).Config(); err != nil {
			return nil, fmt.Errorf("access_token: %w", err)
		}
	}
	// A fetch is rare: no connection is kept for the next one, and none is left when the settings
	// change.
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the address redirects: configure the one that it leads to")
	}}
	o.Keys = identity.NewRemoteKeys(identity.RemoteOptions{
		URL: a.JWKSURL, Client: client, Refresh: a.RefreshInterval, MaxStale: a.MaxStale, Log: log,
	})
	return identity.NewTokens(o), nil
}
