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
	// wrongAtOnce is the number of wrong credentials that an address may send in a burst, and
	// wrongEvery the interval at which it may send more.
	wrongAtOnce = 10
	wrongEvery  = 10 * time.Second
	// RetryAfter is wrongEvery in a Retry-After header.
	RetryAfter = "10"
	// maxAddresses bounds the number of tracked addresses. All further addresses share one limit.
	maxAddresses = 1024
	// maxLines is the number of wrong credentials of all addresses that are logged in a burst; then
	// it is one per second.
	maxLines = 50
)

// Attempts counts wrong credentials of one kind by source address. Right credentials are neither
// counted nor refused, so that a client with the same address as an operator, such as a session on
// the same machine, cannot lock the operator out.
type Attempts struct {
	trusted []netip.Prefix

	mu     sync.Mutex // guards the fields below
	by     map[netip.Addr]*rate.Limiter
	others *rate.Limiter
	lines  *rate.Limiter // of the log
	silent int           // wrong credentials since the last log line
}

// NewAttempts returns counters. Requests from the trusted networks, which are those of proxies, are
// attributed to addresses in X-Forwarded-For.
func NewAttempts(trusted []netip.Prefix) *Attempts {
	return &Attempts{trusted: trusted, by: make(map[netip.Addr]*rate.Limiter), others: newLimiter(), lines: rate.NewLimiter(rate.Every(time.Second), maxLines)}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(wrongEvery), wrongAtOnce) }

// From returns the source address of a request: that of its connection or, if that is a trusted
// proxy's, the last address in X-Forwarded-For that is not.
func (a *Attempts) From(r *http.Request) netip.Addr {
	peer, _ := peerOf(r)
	if !Trusts(a.trusted, peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		address, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break // not written by a trusted proxy
		}
		if peer = address.Unmap().WithZone(""); !Trusts(a.trusted, peer) {
			break
		}
	}
	return peer
}

// Trusts reports whether a list of networks contains an address.
func Trusts(trusted []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(t netip.Prefix) bool { return t.Contains(address) })
}

// Verdict describes how to handle a wrong credential.
type Verdict struct {
	TooMany bool // the address has sent too many
	Log     bool // it should be logged
	LeftOut int  // number of unlogged ones before it
}

// Wrong counts a wrong credential from an address. The rate of log lines is also limited across all
// addresses.
func (a *Attempts) Wrong(from netip.Addr) Verdict {
	if from.Is6() { // a client can use all addresses of a /64
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
			if l.Tokens() >= wrongAtOnce { // the limiter is full again, as for a new address
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
