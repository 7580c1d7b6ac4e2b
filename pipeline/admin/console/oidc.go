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

	"github.com/ttydrain/ttydrain/pipeline/identity"
)

// OIDC is an OpenID provider that says who people are (OpenID Connect Core 1.0), and who of them
// are let in.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string // "" for a public client, which PKCE alone protects
	// Scopes are asked for beside openid.
	Scopes []string
	// AllowedEmails are as in [Proxy]; AllowedGroups are values of the claim GroupsClaim. Who is among
	// either is let in.
	AllowedEmails, AllowedGroups []string
	GroupsClaim                  string
	// Client asks the provider; nil for http.DefaultClient.
	Client *http.Client
}

const (
	// oidcCookie keeps a login that was begun until the provider sends the person back.
	oidcCookie = "ttydrain_console_oidc"
	// oidcMost is how long that may take.
	oidcMost = 10 * time.Minute
	// oidcTimeout bounds a question to the provider.
	oidcTimeout = 15 * time.Second
	// maxExchanges bounds how many codes the provider is asked about at once.
	maxExchanges = 16
)

// A relyingParty asks an OpenID provider who people are.
type relyingParty struct {
	o        OIDC
	callback string
	// exchanges has an element for each code that the provider is asked about.
	exchanges chan struct{}

	mu       sync.Mutex     // guards provider
	provider *oidc.Provider // nil until it was reached
}

func newRelyingParty(o OIDC, callback string) *relyingParty {
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	return &relyingParty{o: o, callback: callback, exchanges: make(chan struct{}, maxExchanges)}
}

// open finds out where the provider has what (OpenID Connect Discovery 1.0). It is asked again for
// as long as it does not answer.
func (p *relyingParty) open(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider == nil {
		ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.o.Client), oidcTimeout)
		defer cancel()
		provider, err := oidc.NewProvider(ctx, p.o.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask the OpenID provider %s: %w", p.o.Issuer, err)
		}
		p.provider = provider
	}
	return p.provider, &oauth2.Config{ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret, RedirectURL: p.callback,
		Endpoint: p.provider.Endpoint(), Scopes: append([]string{oidc.ScopeOpenID}, p.o.Scopes...)}, nil
}

// beginOIDC sends a person to the provider.
func (c *Console) beginOIDC(w http.ResponseWriter, r *http.Request) {
	_, config, err := c.oidc.open(r.Context())
	if err != nil {
		c.o.Log.Error("console: nobody can log in", "way", ByOIDC, "error", err)
		c.showLogin(w, http.StatusBadGateway, loginData{Problem: "The OpenID provider does not answer as expected: the log says why."})
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	// Lax, and not strict: the provider's page is where the person comes from when it is wanted.
	http.SetCookie(w, &http.Cookie{Name: oidcCookie, Value: state + "." + nonce + "." + verifier, Path: "/console/oidc", MaxAge: int(oidcMost / time.Second),
		HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

// endOIDC lets in whom the provider has sent back.
func (c *Console) endOIDC(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: oidcCookie, Path: "/console/oidc", MaxAge: -1, HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode})
	from := c.logins.From(r)
	person, err := c.oidc.exchange(r)
	if err != nil {
		// None is refused for those before it: anybody can come with a state or a code that is wrong.
		if v := c.logins.Wrong(from); v.Log {
			c.o.Log.Warn("console: a login was refused", "way", ByOIDC, "from", from, "reason", err, "left_out", v.LeftOut)
		}
		status, problem := http.StatusUnauthorized, "The login could not be completed: try again. The log says why it was refused."
		if refused := (*Refusal)(nil); errors.As(err, &refused) {
			status, problem = refused.Status, refused.Reason
		}
		c.showLogin(w, status, loginData{Problem: problem})
		return
	}
	c.enter(w, r, person, from.String())
	// Not a redirect: a browser shows a strict cookie only where it comes from a page of ours.
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.pages.entered.Execute(w, nil) // fails only where nobody reads it any more
}

// exchange finds out who came back with a code.
func (p *relyingParty) exchange(r *http.Request) (Person, error) {
	kept, err := r.Cookie(oidcCookie)
	if err != nil {
		return Person{}, &Refusal{http.StatusBadRequest, "This login was not begun in this browser, or more than ten minutes ago: log in again."}
	}
	parts := strings.SplitN(kept.Value, ".", 3)
	q := r.URL.Query()
	if len(parts) != 3 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(q.Get("state"))) != 1 {
		return Person{}, &Refusal{http.StatusBadRequest, "This login is not the one that was begun in this browser: log in again."}
	}
	if q.Get("error") != "" {
		return Person{}, fmt.Errorf("the provider says %s", url.QueryEscape(q.Get("error")))
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
		if told := (*oauth2.RetrieveError)(nil); errors.As(err, &told) { // its text is all of the answer
			return Person{}, fmt.Errorf("the provider does not take the code: %s %q", told.Response.Status, told.ErrorCode)
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
		return Person{}, errors.New("the ID token is of another login (nonce)")
	}
	claims := make(map[string]any)
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("the ID token: %w", err)
	}
	return p.admit(id.Subject, claims)
}

// admit says who somebody with these claims is, if they may come in.
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
	if !known || !oneLine(name) {
		return Person{}, &Refusal{http.StatusForbidden, "You are logged in at the provider, and not among those who may use this console (admin.console.oidc: allowed_emails, allowed_groups)."}
	}
	return Person{name, ByOIDC}, nil
}
