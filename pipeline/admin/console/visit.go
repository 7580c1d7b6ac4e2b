package console

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// visitCookie is the cookie of who has logged in.
	visitCookie = "ttydrain_console"
	// visitMost is for how long a login lasts.
	visitMost = 12 * time.Hour
	// maxVisits bounds how many are remembered; the oldest one is forgotten for a new one.
	maxVisits = 1000
)

// visits are who has logged in. They are in memory: a restart ends them.
type visits struct {
	mu  sync.Mutex                  // guards who is in it
	all map[[sha256.Size]byte]visit // by the digest of the cookie's value, so that looking one up tells no time about it
}

type visit struct {
	person Person
	until  time.Time
}

func newVisits() *visits { return &visits{all: make(map[[sha256.Size]byte]visit)} }

// begin lets a person in, and gives the cookie that says so.
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
	v.all[sha256.Sum256([]byte(value))] = visit{p, now.Add(visitMost)}
	return visitOf(value, int(visitMost/time.Second), secure)
}

// visitOf is the cookie with a value, for some seconds; -1 removes it.
func visitOf(value string, seconds int, secure bool) *http.Cookie {
	// The API is beside the pages, so the path is "/".
	return &http.Cookie{Name: visitCookie, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
}

func (v *visits) who(r *http.Request) (Person, bool) {
	c, err := r.Cookie(visitCookie)
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
	if c, err := r.Cookie(visitCookie); err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.all, sha256.Sum256([]byte(c.Value)))
	}
}
