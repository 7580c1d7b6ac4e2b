package console

import (
	"net/http"
	"net/netip"
	"strings"
)

// loginData is the data of the login page.
type loginData struct {
	Token, OIDC bool   // available methods
	Proxy       bool   // a proxy authenticates users
	Help        bool   // the console has the documentation
	Problem     string // "" for the first display
	Name        string // as entered before
}

func (c *Console) showLogin(w http.ResponseWriter, status int, d loginData) {
	d.Token, d.OIDC, d.Proxy, d.Help = c.o.Token != "", c.oidc != nil, c.o.Proxy != nil, c.o.Help != nil
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	c.pages.login.Execute(w, d) // fails only if the client has disconnected
}

func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	_, err := c.Identify(r)
	if err == nil {
		http.Redirect(w, r, "/console/", http.StatusSeeOther)
		return
	}
	d := loginData{}
	if c.o.Proxy != nil && c.o.Token == "" {
		d.Problem = err.Error()
	}
	c.showLogin(w, http.StatusOK, d)
}

// errNoToken is the error for a login with the token, or for a login link, if the token is not
// accepted.
var errNoToken = &Refusal{http.StatusNotFound, "this console does not allow logins with the token (admin.console.token_login)"}

// maxForm bounds the size of a submitted form.
const maxForm = 16 << 10

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	if c.o.Token == "" {
		c.refuse(w, errNoToken)
		return
	}
	from := c.tokens.From(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.showLogin(w, http.StatusBadRequest, loginData{Problem: "The form could not be read: try again."})
		return
	}
	name, token := strings.TrimSpace(r.PostFormValue("name")), strings.TrimSpace(r.PostFormValue("token"))
	accepted, ok := c.o.Tokens.Find(token)
	switch {
	case !ok:
		c.refuseToken(w, from, ByToken, loginData{Name: name, Problem: "This is not the admin token. You find it in the file admin_token of the store, or as admin.token in the configuration."})
		return
	case name == "" || !isPrintableName(name):
		c.showLogin(w, http.StatusBadRequest, loginData{Problem: "Enter your name: it is shown to users whose sessions you end, and logged when you watch one."})
		return
	}
	c.enter(w, r, Person{name, ByToken, accepted.Grant}, from.String())
	http.Redirect(w, r, "/console/", http.StatusSeeOther)
}

// refuseToken counts and logs a wrong token, and shows the login page.
func (c *Console) refuseToken(w http.ResponseWriter, from netip.Addr, way Way, d loginData) {
	status := http.StatusUnauthorized
	v := c.tokens.Wrong(from)
	if v.TooMany {
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", RetryAfter)
	}
	if v.Log {
		c.o.Log.Warn("console: login refused", "way", way, "from", from, "left_out", v.LeftOut)
	}
	c.showLogin(w, status, d)
}

// enter logs a person in.
func (c *Console) enter(w http.ResponseWriter, r *http.Request, p Person, from string) {
	http.SetCookie(w, c.visits.begin(p, c.secure(r)))
	c.o.Log.Info("console: logged in", "who", p.String(), "way", p.Way, "from", from)
}

// secure reports whether browsers reach the console over TLS.
func (c *Console) secure(r *http.Request) bool {
	return r.TLS != nil || c.o.URL != nil && c.o.URL.Scheme == "https"
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	if p, ok := c.visits.person(r); ok {
		c.o.Log.Info("console: logged out", "who", p.String())
	}
	c.visits.end(r)
	http.SetCookie(w, visitCookieWith("", -1, c.secure(r)))
	http.Redirect(w, r, "/console/login", http.StatusSeeOther)
}
