package console

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// wrongAtOnce are the wrong credentials that one address may send at once; after them it may send
	// one each wrongEvery.
	wrongAtOnce = 10
	wrongEvery  = 10 * time.Second
	// RetryAfter is wrongEvery in a Retry-After header.
	RetryAfter = "10"
	// maxAddresses bounds the addresses that are remembered. Beyond it, all others share one limit.
	maxAddresses = 1024
	// maxLines is how many wrong credentials of all addresses are logged at once; after them it is one
	// a second.
	maxLines = 50
)

// Attempts count the wrong credentials of one kind, by source address. A right one is never counted
// and never refused: whoever shares an address with an operator, such as a session on the same
// machine, cannot lock the operator out.
type Attempts struct {
	trusted []netip.Prefix

	mu     sync.Mutex // guards what follows
	by     map[netip.Addr]*rate.Limiter
	others *rate.Limiter
	lines  *rate.Limiter // of the log
	silent int           // wrong credentials since the last that was to be logged
}

// NewAttempts makes counters. The proxies at the trusted addresses say in X-Forwarded-For whose
// requests they pass on.
func NewAttempts(trusted []netip.Prefix) *Attempts {
	return &Attempts{trusted: trusted, by: make(map[netip.Addr]*rate.Limiter), others: newLimiter(), lines: rate.NewLimiter(rate.Every(time.Second), maxLines)}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(wrongEvery), wrongAtOnce) }

// From returns the address that a request comes from: that of its connection or, where that is a
// trusted proxy's, the last of X-Forwarded-For that is not.
func (a *Attempts) From(r *http.Request) netip.Addr {
	peer, _ := peerOf(r)
	if !Trusts(a.trusted, peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		address, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break // who wrote it is not known
		}
		if peer = address.Unmap().WithZone(""); !Trusts(a.trusted, peer) {
			break
		}
	}
	return peer
}

// Trusts reports whether a list of networks has an address.
func Trusts(trusted []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(t netip.Prefix) bool { return t.Contains(address) })
}

// A Verdict is about a wrong credential.
type Verdict struct {
	TooMany bool // its address has sent too many
	Log     bool // it is to be logged
	LeftOut int  // how many before it were not
}

// Wrong counts a wrong credential of an address. Those of many addresses together are not all
// logged either.
func (a *Attempts) Wrong(from netip.Addr) Verdict {
	if from.Is6() { // somebody has all of a /64
		if network, err := from.Prefix(64); err == nil {
			from = network.Addr()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v := Verdict{TooMany: !a.of(from).Allow()}
	if v.TooMany || !a.lines.Allow() {
		a.silent++
		return v
	}
	v.Log, v.LeftOut, a.silent = true, a.silent, 0
	return v
}

func (a *Attempts) of(from netip.Addr) *rate.Limiter {
	limiter, ok := a.by[from]
	if ok {
		return limiter
	}
	if len(a.by) >= maxAddresses {
		for address, l := range a.by {
			if l.Tokens() >= wrongAtOnce { // as if it had never come
				delete(a.by, address)
			}
		}
	}
	if len(a.by) >= maxAddresses {
		return a.others
	}
	limiter = newLimiter()
	a.by[from] = limiter
	return limiter
}
