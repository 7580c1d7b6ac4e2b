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

	"github.com/ttydrain/ttydrain/schema"
)

// Options of a console.
type Options struct {
	// URL is where browsers reach the console; nil for this machine alone.
	URL *url.URL
	// Token lets in who types it; "" for nobody.
	Token string
	// OIDC lets in whom an OpenID provider knows; nil for nobody.
	OIDC *OIDC
	// Proxy lets in whom a proxy knows; nil for nobody.
	Proxy *Proxy
	// Trusted are the addresses of proxies that say in X-Forwarded-For whose requests they pass on;
	// those of Proxy are trusted in any case.
	Trusted []netip.Prefix
	// PHI says that the console may show what sessions of stacks with protected health information
	// showed.
	PHI bool
	// Log gets who has logged in, and who could not; nil for nobody.
	Log *slog.Logger
}

// A Console serves the pages, and knows who asks. It is safe for concurrent use.
type Console struct {
	o      Options
	origin http.CrossOriginProtection
	pages  *pages
	visits *visits
	tokens *Attempts     // with wrong tokens
	logins *Attempts     // by OpenID Connect that could not be completed
	oidc   *relyingParty // nil without OIDC
}

// New makes a console. Nothing is asked of an OpenID provider before somebody wants to log in.
func New(o Options) (*Console, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := loaded()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	trusted := o.Trusted
	if o.Proxy != nil {
		trusted = slices.Concat(trusted, o.Proxy.Trusted)
	}
	c := &Console{o: o, pages: pages, visits: newVisits(), tokens: NewAttempts(trusted), logins: NewAttempts(trusted)}
	if o.OIDC != nil {
		if o.URL == nil {
			return nil, errors.New("console: OpenID Connect needs the URL of the console, to which the provider sends people back")
		}
		c.oidc = newRelyingParty(*o.OIDC, o.URL.JoinPath("console/oidc/callback").String())
	}
	return c, nil
}

// A Person is who uses the console.
type Person struct {
	// Name is an e-mail address or, of who showed the token, what they call themselves. It is of one
	// line.
	Name string
	// Way is how they said who they are.
	Way Way
}

// A Way to say who one is.
type Way string

// The ways.
const (
	ByToken Way = "token"
	ByOIDC  Way = "oidc"
	ByProxy Way = "proxy"
)

// String is the person as others read it: in the end record of a session that they ended, and in
// the log.
func (p Person) String() string {
	if p.Way == ByToken {
		return p.Name + " (by the admin token, in the console)"
	}
	return p.Name + " (in the console)"
}

// A Refusal is why a request is not answered.
type Refusal struct {
	Status int // of HTTP
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// errNobody is of a request that does not say who asks.
var errNobody = &Refusal{http.StatusUnauthorized, "you are not logged in, or not any more: log in to the console"}

// Who says who asks by a cookie or a proxy's header, or returns a [*Refusal]. It does not look at
// tokens.
func (c *Console) Who(r *http.Request) (Person, error) {
	if err := c.fromHere(r); err != nil {
		return Person{}, err
	}
	if err := c.sameOrigin(r); err != nil {
		return Person{}, err
	}
	if p, ok := c.visits.who(r); ok {
		return p, nil
	}
	if c.o.Proxy != nil {
		return c.o.Proxy.who(r)
	}
	return Person{}, errNobody
}

// ShowsPHI says whether the console may show what sessions of stacks with protected health
// information showed.
func (c *Console) ShowsPHI() bool { return c.o.PHI }

// fromHere refuses requests from elsewhere, or that are for another host.
func (c *Console) fromHere(r *http.Request) error {
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
	return &Refusal{http.StatusForbidden, "this console answers to its own machine alone: go there by a tunnel (ssh -L 9464:127.0.0.1:9464 HOST), or set admin.console.url"}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// peerOf is the address that a request's connection comes from.
func peerOf(r *http.Request) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap().WithZone(""), err == nil
}

// sameOrigin refuses what a page of another origin wants. Reads too: they are logged as somebody's.
func (c *Console) sameOrigin(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if c.origin.Check(r) != nil || site == "cross-site" || site == "same-site" {
		return &Refusal{http.StatusForbidden, "a page of another site asked for this, which is refused"}
	}
	return nil
}

// Register puts the console's pages at /console/ into a server's.
func (c *Console) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", http.RedirectHandler("/console/", http.StatusFound))
	mux.Handle("GET /console/", c.guard(c.page))
	mux.Handle("GET /console/me", c.guard(c.me))
	mux.Handle("GET /console/login", c.guard(c.loginPage))
	mux.Handle("POST /console/login", c.guard(c.login))
	mux.Handle("POST /console/logout", c.guard(c.logout))
	if c.oidc != nil {
		mux.Handle("GET /console/oidc", c.guard(c.beginOIDC))
		mux.Handle("GET /console/oidc/callback", c.guard(c.endOIDC))
	}
}

// guard answers only from where the console may be used, and sets what every answer has.
func (c *Console) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		if err := c.fromHere(r); err != nil {
			c.refuse(w, err)
			return
		}
		if err := c.origin.Check(r); err != nil {
			c.refuse(w, &Refusal{http.StatusForbidden, "a page of another site asked for this, which is refused"})
			return
		}
		next(w, r)
	})
}

// policy is the Content-Security-Policy (CSP Level 3): everything comes from here, and nothing from
// within a page. The player's terminal is WebAssembly.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// SetHeaders sets the headers that keep other sites out of an answer.
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

// me tells the pages who uses them.
func (c *Console) me(w http.ResponseWriter, r *http.Request) {
	p, err := c.Who(r)
	if err != nil {
		c.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(&schema.JSONWriter{To: w}).Encode(struct { // fails only where nobody reads it any more
		Name   string `json:"name"`
		Way    Way    `json:"way"`
		Logout bool   `json:"logout"`
		PHI    bool   `json:"phi"`
	}{p.Name, p.Way, p.Way != ByProxy, c.o.PHI})
}
