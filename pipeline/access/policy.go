// Package access decides who may open sessions on which app. It is the one policy for logins to the
// gateway: public keys and certificates of the configuration, and access tokens that clients send
// along.
//
// A [Policy] holds for one configuration and never changes. An [Authorizer] asks the policy in
// force, which a reload of the configuration replaces.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/session"
)

// errDenied is the one reason for unknown apps, unknown keys and keys that may not use the app, so
// that a stranger cannot find out which apps exist.
var errDenied = errors.New("no such app, no such key, or the key may not use the app")

// A Policy authorizes logins and sessions by one configuration. It implements [gateway.Authorizer].
type Policy struct {
	config *config.Config
	tokens *identity.Tokens // nil if no access tokens are configured
	log    *slog.Logger
}

// New returns the policy of a configuration. log gets failures to fetch the keys of access tokens.
func New(c *config.Config, log *slog.Logger) (*Policy, error) {
	tokens, err := openTokens(c.AccessToken, log)
	if err != nil {
		return nil, err
	}
	return &Policy{config: c, tokens: tokens, log: log}, nil
}

// With returns the policy of another configuration. It keeps the fetched keys of access tokens if
// their settings are the same.
func (p *Policy) With(c *config.Config) (*Policy, error) {
	if !reflect.DeepEqual(p.config.AccessToken, c.AccessToken) {
		return New(c, p.log)
	}
	return &Policy{config: c, tokens: p.tokens, log: p.log}, nil
}

// Authorize implements [gateway.Authorizer].
func (p *Policy) Authorize(login gateway.Login) (gateway.Grant, error) {
	if cert, ok := login.Key.(*ssh.Certificate); ok {
		return p.authorizeCertificate(login, cert)
	}
	user, ok := p.config.Authorize(login.App, login.Key)
	if !ok {
		return gateway.Grant{}, errDenied
	}
	app, ok := p.config.App(login.App)
	if !ok {
		return gateway.Grant{}, errDenied
	}
	return gateway.Grant{User: user, FileTransfer: recordsTransfers(app)}, nil
}

func (p *Policy) authorizeCertificate(login gateway.Login, cert *ssh.Certificate) (gateway.Grant, error) {
	app, ok := p.config.App(login.App)
	if !ok {
		return gateway.Grant{}, errDenied
	}
	door := identity.Door{App: app.Name, Stack: app.Stack, Remote: login.Remote}
	person, err := identity.CheckCertificate(p.config.Authorities(), cert, door, time.Now())
	if err != nil {
		return gateway.Grant{}, err
	}
	return gateway.Grant{
		User: person.User, ForceCommand: person.ForceCommand, NoTerminal: person.NoTerminal, FileTransfer: recordsTransfers(app),
	}, nil
}

// recordsTransfers reports whether files may be transferred to and from an app, which are then
// recorded.
func recordsTransfers(app *config.App) bool { return app.FileTransfer == config.FileTransferRecord }

// Apps implements [gateway.Authorizer].
func (p *Policy) Apps() []string {
	var names []string
	for _, a := range p.config.Apps {
		names = append(names, a.Name)
	}
	return names
}

// Admit implements [gateway.Authorizer]. It authorizes the login again, since keys are removed and
// certificates expire while a connection stays open, and then checks the access token.
//
// The token must be one of the same user, and must allow the app. It can name the user, but grants
// nothing that the key does not.
func (p *Policy) Admit(ctx context.Context, login gateway.Login, token string) (gateway.Grant, error) {
	grant, err := p.Authorize(login)
	if err != nil {
		return grant, fmt.Errorf("the login is no longer good: %w", err)
	}
	if p.tokens == nil {
		return grant, nil
	}
	if token == "" {
		if p.config.AccessToken.Required {
			return grant, &session.Refusal{Message: "an access token is needed: send it as ACCESS_TOKEN (ssh -o SendEnv=ACCESS_TOKEN)"}
		}
		return grant, nil
	}
	claims, err := p.tokens.Verify(ctx, token)
	if err != nil {
		return grant, &session.Refusal{Message: err.Error()} // an identity.TokenError, which has nothing of the token
	}
	app, ok := p.config.App(login.App)
	switch {
	case !ok:
		return grant, errDenied
	case claims.User.ID != grant.User.ID:
		return grant, &session.Refusal{Message: "the access token is refused: it is another user's than the key"}
	case !claims.Allows(app.Name, app.Stack):
		return grant, &session.Refusal{Message: "the access token is refused: it is not for this app"}
	}
	grant.Token = true
	if claims.User.Name != "" {
		grant.User.Name = claims.User.Name
	}
	if claims.User.Email != "" {
		grant.User.Email = claims.User.Email
	}
	return grant, nil
}

// An Authorizer asks the policy in force. It implements [gateway.Authorizer]. The zero value cannot
// be asked before the first call of Use.
type Authorizer struct{ policy atomic.Pointer[Policy] }

// Use puts a policy into force. Each login and each session is decided by one policy.
func (a *Authorizer) Use(p *Policy) { a.policy.Store(p) }

// Policy returns the policy in force.
func (a *Authorizer) Policy() *Policy { return a.policy.Load() }

// Authorize implements [gateway.Authorizer].
func (a *Authorizer) Authorize(login gateway.Login) (gateway.Grant, error) {
	return a.Policy().Authorize(login)
}

// Admit implements [gateway.Authorizer].
func (a *Authorizer) Admit(ctx context.Context, login gateway.Login, token string) (gateway.Grant, error) {
	return a.Policy().Admit(ctx, login, token)
}

// Apps implements [gateway.Authorizer].
func (a *Authorizer) Apps() []string { return a.Policy().Apps() }
