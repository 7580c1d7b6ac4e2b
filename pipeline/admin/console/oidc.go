package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/identity"
)

// OIDC is an OpenID provider (OpenID Connect Core 1.0) and the users who may log in.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string // "" for a public client, which is protected by PKCE
	// Scopes are requested in addition to openid.
	Scopes []string
	// AllowedEmails have the form of [Proxy.Allowed], AllowedGroups are values of the claim
	// GroupsClaim. Users who match either may log in.
	AllowedEmails, AllowedGroups []string
	GroupsClaim                  string
	// Client sends requests to the provider; nil means http.DefaultClient.
	Client *http.Client
}

const (
	// oidcCookie is the cookie that stores a login while the user is at the provider.
	oidcCookie = "ttydrain_console_oidc"
	// oidcLifetime bounds the duration of a login at the provider.
	oidcLifetime = 10 * time.Minute
	// oidcTimeout bounds a request to the provider.
	oidcTimeout = 15 * time.Second
	// maxExchanges bounds the number of concurrent code exchanges.
	maxExchanges = 16
)

// relyingParty authenticates users with an OpenID provider.
type relyingParty struct {
	o        OIDC
	rules    role.Rules
	callback string
	// exchanges is a semaphore for code exchanges.
	exchanges chan struct{}

	mu       sync.Mutex     // guards provider
	provider *oidc.Provider // nil until discovery has succeeded
}

func newRelyingParty(o OIDC, rules role.Rules, callback string) *relyingParty {
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	return &relyingParty{o: o, rules: rules, callback: callback, exchanges: make(chan struct{}, maxExchanges)}
}

// open loads the provider's configuration (OpenID Connect Discovery 1.0). It retries on each call
// until it succeeds.
func (p *relyingParty) open(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider == nil {
		ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.o.Client), oidcTimeout)
		defer cancel()
		provider, err := oidc.NewProvider(ctx, p.o.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("discover the OpenID provider %s: %w", p.o.Issuer, err)
		}
		p.provider = provider
	}
	return p.provider, &oauth2.Config{ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret, RedirectURL: p.callback,
		Endpoint: p.provider.Endpoint(), Scopes: append([]string{oidc.ScopeOpenID}, p.o.Scopes...)}, nil
}

// beginOIDC redirects a user to the provider.
func (c *Console) beginOIDC(w http.ResponseWriter, r *http.Request) {
	_, config, err := c.oidc.open(r.Context())
	if err != nil {
		c.o.Log.Error("console: logins are not possible", "way", ByOIDC, "error", err)
		c.showLogin(w, http.StatusBadGateway, loginData{Problem: "The OpenID provider is not available. The log has the reason."})
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	// Lax instead of Strict, since the provider's page redirects to the callback.
	http.SetCookie(w, &http.Cookie{Name: oidcCookie, Value: state + "." + nonce + "." + verifier, Path: "/console/oidc", MaxAge: int(oidcLifetime / time.Second),
		HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

// endOIDC handles the redirect from the provider and logs the user in.
func (c *Console) endOIDC(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: oidcCookie, Path: "/console/oidc", MaxAge: -1, HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode})
	from := c.logins.From(r)
	person, err := c.oidc.exchange(r)
	if err != nil {
		// Wrong callbacks are only counted for the log: anyone can send them, and they lock nobody out.
		if v := c.logins.Wrong(from); v.Log {
			c.o.Log.Warn("console: login refused", "way", ByOIDC, "from", from, "error", err, "left_out", v.LeftOut)
		}
		status, problem := http.StatusUnauthorized, "The login could not be completed: try again. The log has the reason."
		if refused := (*Refusal)(nil); errors.As(err, &refused) {
			status, problem = refused.Status, refused.Reason
		}
		c.showLogin(w, status, loginData{Problem: problem})
		return
	}
	c.enter(w, r, person, from.String())
	// Not a redirect: browsers send a Strict cookie only in requests from our own pages.
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.pages.entered.Execute(w, nil) // fails only if the client has disconnected
}

// exchange validates a callback, exchanges its code and returns the user.
func (p *relyingParty) exchange(r *http.Request) (Person, error) {
	kept, err := r.Cookie(oidcCookie)
	if err != nil {
		return Person{}, &Refusal{http.StatusBadRequest, "This login did not begin in this browser, or more than ten minutes ago: log in again."}
	}
	parts := strings.SplitN(kept.Value, ".", 3)
	q := r.URL.Query()
	if len(parts) != 3 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(q.Get("state"))) != 1 {
		return Person{}, &Refusal{http.StatusBadRequest, "This login did not begin in this browser: log in again."}
	}
	if q.Get("error") != "" {
		return Person{}, fmt.Errorf("the provider returned the error %s", url.QueryEscape(q.Get("error")))
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), p.o.Client), oidcTimeout)
	defer cancel()
	select {
	case p.exchanges <- struct{}{}:
		defer func() { <-p.exchanges }()
	case <-ctx.Done():
		return Person{}, fmt.Errorf("wait for other logins: %w", context.Cause(ctx))
	}
	provider, config, err := p.open(ctx)
	if err != nil {
		return Person{}, err
	}
	token, err := config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(parts[2]))
	if err != nil {
		if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) { // its text contains the whole response
			return Person{}, fmt.Errorf("the provider refused the code: %s %q", refused.Response.Status, refused.ErrorCode)
		}
		return Person{}, fmt.Errorf("exchange the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	if err := identity.CheckCritical(raw); err != nil {
		return Person{}, fmt.Errorf("the ID token: %w", err)
	}
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: p.o.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Person{}, fmt.Errorf("the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(parts[1])) != 1 {
		return Person{}, errors.New("the ID token belongs to another login (nonce)")
	}
	claims := make(map[string]any)
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("the ID token: %w", err)
	}
	return p.admit(id.Subject, claims)
}

// admit returns the user with these claims, or a refusal if the user may not log in.
func (p *relyingParty) admit(subject string, claims map[string]any) (Person, error) {
	email, _ := claims["email"].(string)
	if !identity.IsTrue(claims["email_verified"]) {
		email = ""
	}
	var groups []string
	switch list := claims[p.o.GroupsClaim].(type) {
	case string:
		groups = []string{list}
	case []any:
		for _, one := range list {
			if group, ok := one.(string); ok {
				groups = append(groups, group)
			}
		}
	}
	known := email != "" && allowed(p.o.AllowedEmails, email) ||
		slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(p.o.AllowedGroups, g) })
	name := email
	if name == "" {
		name = subject
	}
	if !known || !isPrintableName(name) {
		return Person{}, &Refusal{http.StatusForbidden, "The provider has authenticated you, but you are not allowed to use this console (admin.console.oidc: allowed_emails, allowed_groups)."}
	}
	return Person{name, ByOIDC, p.rules.Grant(email, groups)}, nil
}
