package console

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
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

// visits are the current logins. They are kept in memory, so a restart ends them.
type visits struct {
	mu  sync.Mutex                  // guards all
	all map[[sha256.Size]byte]visit // by digest of the cookie's value, so that the lookup time reveals nothing about it
}

type visit struct {
	person Person
	until  time.Time
}

func newVisits() *visits { return &visits{all: make(map[[sha256.Size]byte]visit)} }

// begin adds a login and returns its cookie.
func (v *visits) begin(p Person, secure bool) *http.Cookie {
	value, now := rand.Text(), time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	var oldest [sha256.Size]byte
	for key, one := range v.all {
		if now.After(one.until) {
			delete(v.all, key)
		} else if first, ok := v.all[oldest]; !ok || one.until.Before(first.until) {
			oldest = key
		}
	}
	if len(v.all) >= maxVisits {
		delete(v.all, oldest)
	}
	v.all[sha256.Sum256([]byte(value))] = visit{p, now.Add(visitLifetime)}
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
	v.mu.Lock()
	defer v.mu.Unlock()
	one, ok := v.all[sha256.Sum256([]byte(c.Value))]
	if !ok || time.Now().After(one.until) {
		return Person{}, false
	}
	return one.person, true
}

func (v *visits) end(r *http.Request) {
	if c, err := r.Cookie(CookieName); err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.all, sha256.Sum256([]byte(c.Value)))
	}
}
