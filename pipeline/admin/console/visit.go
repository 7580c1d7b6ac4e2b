package console

import (
	"net/http"
	"time"
)

const (
	// CookieName is the name of the cookie of a logged-in user.
	CookieName = "ttydrain_console"
	// visitLifetime is the lifetime of a login.
	visitLifetime = 12 * time.Hour
	// maxVisits bounds the number of logins; beyond it, a new login replaces the oldest.
	maxVisits = 1000
)

// visits are the current logins, by the value of their cookie.
type visits struct{ *grants }

func newVisits() *visits { return &visits{newGrants(maxVisits)} }

// begin adds a login and returns its cookie.
func (v *visits) begin(p Person, secure bool) *http.Cookie {
	value := v.add(p, time.Now().Add(visitLifetime))
	return visitCookieWith(value, int(visitLifetime/time.Second), secure)
}

// visitCookieWith returns the cookie with a value and a lifetime in seconds; -1 deletes it.
func visitCookieWith(value string, seconds int, secure bool) *http.Cookie {
	// The path is "/", since the API is outside of /console/.
	return &http.Cookie{Name: CookieName, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
}

func (v *visits) person(r *http.Request) (Person, bool) {
	c, err := r.Cookie(CookieName)
	if err != nil {
		return Person{}, false
	}
	return v.get(c.Value)
}

func (v *visits) end(r *http.Request) {
	if c, err := r.Cookie(CookieName); err == nil {
		v.take(c.Value)
	}
}
