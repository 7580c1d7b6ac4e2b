package console

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// attemptsAtOnce are the logins that one address may try at once; after them it may try one each attemptEvery.
	attemptsAtOnce = 10
	attemptEvery   = 10 * time.Second
	// maxAddresses bounds the addresses that are remembered. Beyond it, all others share one limit.
	maxAddresses = 1024
)

// attempts bounds how often a token can be guessed.
type attempts struct {
	mu     sync.Mutex // guards what follows
	by     map[netip.Addr]*rate.Limiter
	others *rate.Limiter
}

func newAttempts() *attempts {
	return &attempts{by: make(map[netip.Addr]*rate.Limiter), others: newLimiter()}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(attemptEvery), attemptsAtOnce) }

// allow says whether an address may try once more now.
func (a *attempts) allow(from netip.Addr) bool {
	if from.Is6() { // somebody has all of a /64
		if network, err := from.Prefix(64); err == nil {
			from = network.Addr()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter, ok := a.by[from]
	if !ok {
		if len(a.by) >= maxAddresses {
			for address, l := range a.by {
				if l.Tokens() >= attemptsAtOnce { // as if it had never come
					delete(a.by, address)
				}
			}
		}
		if len(a.by) >= maxAddresses {
			return a.others.Allow()
		}
		limiter = newLimiter()
		a.by[from] = limiter
	}
	return limiter.Allow()
}
