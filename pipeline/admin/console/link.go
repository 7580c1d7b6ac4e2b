package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/admin/role"
)

const (
	// linkLifetime is the time in which a login link can be used.
	linkLifetime = 5 * time.Minute
	// maxLinks bounds the number of unused login links; beyond it, a new link replaces the oldest.
	maxLinks = 100
)

// NewLink returns a URL that logs a person in once, within some minutes, and the time of its
// expiry. The caller has the admin token, and says the person's name. It returns a [*Refusal] if
// the console does not accept the admin token either.
//
// The token is in the fragment of the URL, which browsers do not send: it reaches no log of a proxy
// and no Referer header, and the programs that fetch links for a preview do not use it up. The page
// there sends it in the body of a POST request, when the user has pressed a button.
func (c *Console) NewLink(name string) (url string, until time.Time, err error) {
	if c.o.Token == "" {
		return "", time.Time{}, errNoToken
	}
	name = strings.TrimSpace(name)
	if name == "" || !isPrintableName(name) {
		return "", time.Time{}, &Refusal{http.StatusBadRequest, "the name of the user has to be one line of at most 100 characters"}
	}
	until = time.Now().Add(linkLifetime).Truncate(time.Second)
	return c.Address() + "link#" + c.links.add(Person{name, ByLink, role.All()}, until), until, nil
}

// Address returns the URL of the console.
func (c *Console) Address() string {
	if c.o.URL != nil {
		return c.o.URL.JoinPath("console").String() + "/"
	}
	return c.o.Local + "/console/"
}

// followLink exchanges the token of a login link for the cookie.
func (c *Console) followLink(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.showLogin(w, http.StatusBadRequest, loginData{Problem: "The form could not be read: open the link again."})
		return
	}
	from := c.tokens.From(r)
	person, ok := c.links.take(r.PostFormValue("token"))
	if !ok {
		c.refuseToken(w, from, ByLink, loginData{Problem: "This login link has been used, or has expired. “ttydrain console” prints a new one."})
		return
	}
	c.visits.end(r) // a login replaces the one before
	c.enter(w, r, person, from.String())
	http.Redirect(w, r, "/console/", http.StatusSeeOther)
}
