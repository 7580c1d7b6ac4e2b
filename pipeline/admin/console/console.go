package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/schema"
)

// Options configure a console.
type Options struct {
	// URL is the address at which browsers reach the console; nil for this machine only.
	URL *url.URL
	// Local is the URL of the server on this machine, for links if URL is nil.
	Local string
	// Token is the admin token that users may log in with; "" disables it, and login links.
	Token string
	// OIDC allows logins by an OpenID provider; nil disables them.
	OIDC *OIDC
	// Proxy allows authentication by a proxy; nil disables it.
	Proxy *Proxy
	// Trusted are the networks of proxies whose X-Forwarded-For is used, in addition to those of
	// Proxy.
	Trusted []netip.Prefix
	// Tokens are further tokens that users may log in with, if Token is set: New adds Token.
	Tokens role.Tokens
	// Rules are the roles of users of OIDC and Proxy.
	Rules role.Rules
	// PHI allows the output of sessions that may hold protected health information.
	PHI bool
	// Help returns the documentation, which is the same each time; nil for none.
	Help func() *Help
	// Log logs logins and refused logins; nil discards the log.
	Log *slog.Logger
}

// Console serves the pages and authenticates their users. It is safe for concurrent use.
type Console struct {
	o      Options
	origin http.CrossOriginProtection
	pages  *pages
	visits *visits
	links  *grants       // login links that can still be used
	tokens *Attempts     // logins with wrong tokens
	logins *Attempts     // failed logins by OpenID Connect
	oidc   *relyingParty // nil without OIDC
}

// New returns a console. It contacts the OpenID provider at the first login.
func New(o Options) (*Console, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Tokens = o.Tokens.WithAdmin(o.Token)
	pages, err := loaded()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	trusted := o.Trusted
	if o.Proxy != nil {
		trusted = slices.Concat(trusted, o.Proxy.Trusted)
	}
	c := &Console{o: o, pages: pages, visits: newVisits(), links: newGrants(maxLinks), tokens: NewAttempts(trusted), logins: NewAttempts(trusted)}
	if o.OIDC != nil {
		if o.URL == nil {
			return nil, errors.New("console: OpenID Connect needs the URL of the console, to which the provider redirects")
		}
		c.oidc = newRelyingParty(*o.OIDC, o.Rules, o.URL.JoinPath("console/oidc/callback").String())
	}
	return c, nil
}

// Person is a user of the console.
type Person struct {
	// Name is an e-mail address or, for a login with the token, the name that the user has entered,
	// or for a login link, the name in the request for the link.
	// It is a single line.
	Name string
	// Way is the authentication method.
	Way Way
	// Grant holds the permissions of the user.
	Grant role.Grant
}

// Way is an authentication method.
type Way string

// The authentication methods.
const (
	ByToken Way = "token"
	ByLink  Way = "link"
	ByOIDC  Way = "oidc"
	ByProxy Way = "proxy"
)

// String returns the person's name in the form for the log and for the end record of a session that
// the person has ended.
func (p Person) String() string {
	switch p.Way {
	case ByToken:
		return p.Name + " (by the admin token, in the console)"
	case ByLink:
		return p.Name + " (by a login link, in the console)"
	}
	return p.Name + " (in the console)"
}

// Refusal is the error for a request that is refused.
type Refusal struct {
	Status int // HTTP status
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// errNotLoggedIn is the error for a request without authentication.
var errNotLoggedIn = &Refusal{http.StatusUnauthorized, "you are not logged in, or your login has expired: log in to the console, or send the admin token (Authorization: Bearer TOKEN)"}

// Identify returns the user of a request with a cookie or a proxy's header, or a [*Refusal]. It
// does not check tokens.
func (c *Console) Identify(r *http.Request) (Person, error) {
	if err := c.checkAddress(r); err != nil {
		return Person{}, err
	}
	if err := c.sameOrigin(r); err != nil {
		return Person{}, err
	}
	if p, ok := c.visits.person(r); ok {
		return p, nil
	}
	if c.o.Proxy != nil {
		p, err := c.o.Proxy.person(r)
		p.Grant = c.o.Rules.Grant(p.Name, nil)
		return p, err
	}
	return Person{}, errNotLoggedIn
}

// ShowsPHI reports whether the console may show the output of sessions that may hold protected
// health information.
func (c *Console) ShowsPHI() bool { return c.o.PHI }

// checkAddress refuses requests from other machines, if there is no URL, and for other hosts.
func (c *Console) checkAddress(r *http.Request) error {
	if u := c.o.URL; u != nil {
		if strings.EqualFold(r.Host, u.Host) || strings.EqualFold(r.Host, u.Host+":"+defaultPort(u.Scheme)) {
			return nil
		}
		return &Refusal{http.StatusMisdirectedRequest, "this console is at " + u.String() + " (admin.console.url)"}
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	if peer, ok := peerOf(r); ok && peer.IsLoopback() && (strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()) {
		return nil
	}
	return &Refusal{http.StatusForbidden, "this console is restricted to its own machine: use a tunnel (ssh -L 9464:127.0.0.1:9464 HOST), or set admin.console.url"}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// peerOf returns the remote address of a request's connection.
func peerOf(r *http.Request) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap().WithZone(""), err == nil
}

// sameOrigin refuses requests from pages of another origin. It includes reads, since they are
// logged under the user's name.
func (c *Console) sameOrigin(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if c.origin.Check(r) != nil || site == "cross-site" || site == "same-site" {
		return &Refusal{http.StatusForbidden, "requests from pages of another site are refused"}
	}
	return nil
}

// Register registers the console's pages below /console/.
func (c *Console) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", http.RedirectHandler("/console/", http.StatusFound))
	mux.Handle("GET /console/", c.guard(c.page))
	mux.Handle("GET /console/me", c.guard(c.me))
	mux.Handle("GET /console/login", c.guard(c.loginPage))
	mux.Handle("POST /console/login", c.guard(c.login))
	mux.Handle("POST /console/logout", c.guard(c.logout))
	mux.Handle("GET /console/link", c.guard(c.page))
	mux.Handle("POST /console/link", c.guard(c.followLink))
	if c.o.Help != nil {
		mux.Handle("GET "+helpBase+"{$}", c.guard(c.help))
		mux.Handle("GET "+helpBase+"{topic}", c.guard(c.help))
	}
	if c.oidc != nil {
		mux.Handle("GET /console/oidc", c.guard(c.beginOIDC))
		mux.Handle("GET /console/oidc/callback", c.guard(c.endOIDC))
	}
}

// guard refuses requests from disallowed addresses and origins, and sets the common headers.
func (c *Console) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		if err := c.checkAddress(r); err != nil {
			c.refuse(w, err)
			return
		}
		if err := c.origin.Check(r); err != nil {
			c.refuse(w, &Refusal{http.StatusForbidden, "requests from pages of another site are refused"})
			return
		}
		next(w, r)
	})
}

// policy is the Content-Security-Policy (CSP Level 3): everything is same-origin and nothing
// inline. asciinema-player needs WebAssembly.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// SetHeaders sets the security headers of a response.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (c *Console) refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if refused := (*Refusal)(nil); errors.As(err, &refused) {
		status = refused.Status
	}
	http.Error(w, err.Error(), status)
}

// me responds with the user, for the pages.
func (c *Console) me(w http.ResponseWriter, r *http.Request) {
	p, err := c.Identify(r)
	if err != nil {
		c.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(&schema.JSONWriter{To: w}).Encode(struct { // fails only if the client has disconnected
		Name   string `json:"name"`
		Way    Way    `json:"way"`
		Logout bool   `json:"logout"`
		PHI    bool   `json:"phi"`
		// Role and the permissions are for the pages: the server checks each request.
		Role    role.Role `json:"role"`
		Read    bool      `json:"read"`
		Operate bool      `json:"operate"`
	}{p.Name, p.Way, p.Way != ByProxy, c.o.PHI && p.Grant.PHI, p.Grant.Role, p.Grant.Role.May(role.Read), p.Grant.Role.May(role.Operate)})
}
