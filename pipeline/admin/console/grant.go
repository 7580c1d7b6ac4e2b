package console

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// grants are secrets that stand for a person until they expire, such as the cookies of logins. They
// are kept in memory, so a restart ends them.
type grants struct {
	max int // beyond it, a new grant replaces the one that expires first

	mu  sync.Mutex                  // guards all
	all map[[sha256.Size]byte]grant // by digest of the secret, so that the lookup time reveals nothing about it
}

type grant struct {
	person Person
	until  time.Time
}

func newGrants(max int) *grants {
	return &grants{max: max, all: make(map[[sha256.Size]byte]grant)}
}

// add returns the secret of a new grant.
func (g *grants) add(p Person, until time.Time) string {
	secret, now := rand.Text(), time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	var oldest [sha256.Size]byte
	for key, one := range g.all {
		if now.After(one.until) {
			delete(g.all, key)
		} else if first, ok := g.all[oldest]; !ok || one.until.Before(first.until) {
			oldest = key
		}
	}
	if len(g.all) >= g.max {
		delete(g.all, oldest)
	}
	g.all[sha256.Sum256([]byte(secret))] = grant{p, until}
	return secret
}

// get returns the person of a secret.
func (g *grants) get(secret string) (Person, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all[sha256.Sum256([]byte(secret))].valid()
}

// take is get for a secret that can't be used again.
func (g *grants) take(secret string) (Person, bool) {
	key := sha256.Sum256([]byte(secret))
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.all[key]
	delete(g.all, key)
	return one.valid()
}

// valid returns the person until the grant expires. The zero value has expired.
func (g grant) valid() (Person, bool) {
	if !time.Now().Before(g.until) {
		return Person{}, false
	}
	return g.person, true
}
