package gateway

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Reasons for refusing connections, in metrics and logs.
const (
	refusedPenalty      = "penalty"
	refusedConnections  = "max_connections"
	refusedSource       = "per_source_max_startups"
	refusedStartups     = "max_startups"
	refusedUser         = "max_connections_per_user"
	refusedUserSessions = "max_sessions_per_user"
)

// refusalTexts are the messages to refused clients. Each follows "ttydrain: ".
var refusalTexts = map[string]string{
	refusedPenalty:     "not allowed at this time: too many connections from your address have failed",
	refusedConnections: "too many connections",
	refusedSource:      "too many connections from your address that have not logged in",
	refusedStartups:    "too many connections that have not logged in",
}

// startupShare is the divisor of MaxConnections for the limit on connections of all sources that
// have not logged in.
const startupShare = 4

// admission decides which connections may start and log in, and counts the connections and sessions
// of sources and users.
type admission struct {
	limits  atomic.Pointer[Limits] // the current limits
	random  func(n int) int        // returns a number from 0 to n-1
	metrics *Metrics

	mu          sync.Mutex // guards what follows
	connections int
	startups    map[netip.Prefix]int // connections that have not logged in, by source
	starting    int                  // the sum of startups
	users       map[string]*holding
	penalties4  penaltyTable
	penalties6  penaltyTable
}

// A holding counts a user's connections and sessions.
type holding struct{ connections, sessions int }

func newAdmission(l Limits, metrics *Metrics) *admission {
	a := &admission{random: rand.IntN, metrics: metrics, startups: make(map[netip.Prefix]int), users: make(map[string]*holding)}
	a.limits.Store(&l)
	return a
}

// begin counts a new connection, or returns the reason for refusing it. A counted connection is
// removed from the counts by failed, or by loggedIn and then loggedOut.
func (a *admission) begin(remote net.Addr) (source netip.Prefix, refused string) {
	l := a.limits.Load()
	source = l.source(remote)
	a.mu.Lock()
	defer a.mu.Unlock()
	if refused = a.refusal(l, remote, source); refused != "" {
		a.metrics.refuse(refused)
		return source, refused
	}
	a.connections++
	a.startups[source]++
	a.starting++
	a.metrics.change(1, 0)
	return source, ""
}

// refusal returns the reason for refusing a connection, or "". The caller holds mu.
func (a *admission) refusal(l *Limits, remote net.Addr, source netip.Prefix) string {
	switch {
	case !l.exempt(remote) && a.penaltiesOf(source).refuses(source, time.Now()):
		return refusedPenalty
	case a.connections >= l.MaxConnections:
		return refusedConnections
	case l.PerSourceMaxStartups > 0 && a.startups[source] >= l.PerSourceMaxStartups:
		return refusedSource
	case a.dropsStartup(l, source):
		return refusedStartups
	}
	return ""
}

// dropsStartup decides whether to drop a connection at random.
//
// OpenSSH counts all connections that have not logged in, so one address with a hundred of them
// locks out all others. Here each other source counts as one connection: a flooding source is
// refused itself, and the rest can log in. The rule equals OpenSSH's if all connections come from
// one address, or each from a different one.
func (a *admission) dropsStartup(l *Limits, source netip.Prefix) bool {
	if a.starting >= max(l.MaxStartups.Full, l.MaxConnections/startupShare) {
		return true
	}
	own := a.startups[source]
	others := len(a.startups)
	if own > 0 {
		others--
	}
	percent := l.MaxStartups.drops(own + others)
	return percent > 0 && a.random(100) < percent
}

// loggedIn removes a connection from the startups of its source after its login.
func (a *admission) loggedIn(source netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started(source)
	a.metrics.change(-1, 1)
}

// failed removes a connection that has not logged in.
func (a *admission) failed(source netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started(source)
	a.connections--
	a.metrics.change(-1, 0)
}

// started removes a connection from those that have not logged in. The caller holds mu.
func (a *admission) started(source netip.Prefix) {
	a.starting--
	if a.startups[source]--; a.startups[source] == 0 {
		delete(a.startups, source)
	}
}

// loggedOut removes a connection that had logged in.
func (a *admission) loggedOut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections--
	a.metrics.change(0, -1)
}

// punish adds a penalty to the source of a connection, and reports whether the source is refused
// from now on.
func (a *admission) punish(remote net.Addr, source netip.Prefix, o offence) (refused bool) {
	a.metrics.fail(o)
	l := a.limits.Load()
	if l.exempt(remote) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &l.PerSourcePenalties
	limit := p.MaxSources4
	if source.Addr().Is6() {
		limit = p.MaxSources6
	}
	return a.penaltiesOf(source).punish(source, o, p, limit, time.Now())
}

// penaltiesOf returns the table for a source's address family. The caller holds mu.
func (a *admission) penaltiesOf(source netip.Prefix) *penaltyTable {
	if source.Addr().Is6() {
		return &a.penalties6
	}
	return &a.penalties4
}

// enter counts a user's connection, or returns an error for the user if the limit is reached.
func (a *admission) enter(user string) error {
	limit := a.limits.Load().MaxConnectionsPerUser
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.users[user]
	if h == nil {
		h = new(holding)
		a.users[user] = h
	}
	if h.connections >= limit {
		a.metrics.refuse(refusedUser)
		return fmt.Errorf("you have %d connections, as many as a user may have at a time: close one", h.connections)
	}
	h.connections++
	return nil
}

// exit removes a user's connection from the count.
func (a *admission) exit(user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.users[user]
	h.connections--
	if h.connections == 0 {
		delete(a.users, user) // sessions end before their connection does
	}
}

// openSession counts a session of a logged-in user, and reports whether it may start.
func (a *admission) openSession(user string) bool {
	limit := a.limits.Load().MaxSessionsPerUser
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.users[user]
	if h.sessions >= limit {
		a.metrics.refuse(refusedUserSessions)
		return false
	}
	h.sessions++
	return true
}

// closeSession removes a user's session from the count.
func (a *admission) closeSession(user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[user].sessions--
}
