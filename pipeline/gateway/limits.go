package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Limits limit the resources of clients. The names, and the defaults of those that sshd_config(5)
// has, are OpenSSH's; a zero value selects the default, which is listed below.
type Limits struct {
	// MaxStartups limits the connections that have not logged in: 10:30:100.
	MaxStartups Startups
	// PerSourceMaxStartups limits those of one source; 0 means no separate limit.
	PerSourceMaxStartups int
	// PerSourceNetBlockSize is the number of leading bits of an address that identify a source:
	// 32:64. OpenSSH's default is 32:128, but a single host usually has a whole IPv6 /64.
	PerSourceNetBlockSize NetBlockSize
	// PerSourcePenalties refuse the connections of a source for some time after failures.
	PerSourcePenalties Penalties
	// PerSourcePenaltyExempt holds addresses without penalties, such as those of proxies; default
	// none.
	PerSourcePenaltyExempt []netip.Prefix
	// LoginGraceTime limits the duration of a login from the accepted connection on, including key
	// exchange and passphrase prompts; 2 min.
	LoginGraceTime time.Duration
	MaxAuthTries   int // refused keys per connection; 6
	MaxSessions    int // session channels per connection; 10

	// OpenSSH has none of these limits except UnusedConnectionTimeout, which it disables.
	MaxConnections          int           // of all clients; 4096
	MaxConnectionsPerUser   int           // connections on which one user is logged in; 256
	MaxSessionsPerUser      int           // session channels on all of a user's connections; 512
	UnusedConnectionTimeout time.Duration // maximum time without a session after the login; 10 min
}

// Startups is a limit in the form of MaxStartups of sshd_config(5): from Begin connections on, Rate
// percent of further ones are refused, increasing linearly, and from Full on all of them.
type Startups struct{ Begin, Rate, Full int }

// drops returns the percentage of connections to refuse if there are n already.
func (s Startups) drops(n int) int {
	switch {
	case n < s.Begin:
		return 0
	case n >= s.Full:
		return 100
	}
	return s.Rate + (100-s.Rate)*(n-s.Begin)/(s.Full-s.Begin)
}

// NetBlockSize is the length of the network prefixes that count as one source.
type NetBlockSize struct{ IPv4, IPv6 int }

// Penalties are durations that failed connections accumulate, like PerSourcePenalties of
// sshd_config(5). A source is refused while more than Min has accumulated and not passed, but never
// for longer than Max.
type Penalties struct {
	Disabled      bool
	Crash         time.Duration // the connection made the gateway fail; 90 s
	AuthFail      time.Duration // it attempted to log in and failed; 5 s
	NoAuth        time.Duration // it ended without an attempt; 1 s
	GraceExceeded time.Duration // it took longer than LoginGraceTime; 10 s
	Max           time.Duration // 10 min
	Min           time.Duration // 15 s
	// MaxSources4 and MaxSources6 limit the number of remembered sources; 65536 each. Beyond it,
	// those whose penalties end first are forgotten.
	MaxSources4, MaxSources6 int
}

// DefaultLimits returns the default limits.
func DefaultLimits() Limits {
	return Limits{
		MaxStartups:           Startups{10, 30, 100},
		PerSourceNetBlockSize: NetBlockSize{32, 64},
		PerSourcePenalties: Penalties{
			Crash: 90 * time.Second, AuthFail: 5 * time.Second, NoAuth: time.Second, GraceExceeded: 10 * time.Second,
			Max: 10 * time.Minute, Min: 15 * time.Second, MaxSources4: 65536, MaxSources6: 65536,
		},
		LoginGraceTime: 2 * time.Minute, MaxAuthTries: 6, MaxSessions: 10,
		MaxConnections: 4096, MaxConnectionsPerUser: 256, MaxSessionsPerUser: 512, UnusedConnectionTimeout: 10 * time.Minute,
	}
}

// complete returns the limits with defaults instead of zeros, or all errors in them.
func (l Limits) complete() (Limits, error) {
	var errs []error
	d := DefaultLimits()
	if l.MaxStartups == (Startups{}) {
		l.MaxStartups = d.MaxStartups
	}
	if s := l.MaxStartups; s.Begin < 1 || s.Full < s.Begin || s.Rate < 1 || s.Rate > 100 {
		errs = append(errs, fmt.Errorf("maximum of startups %d:%d:%d: expected BEGIN:PERCENT:FULL such as 10:30:100", s.Begin, s.Rate, s.Full))
	}
	if l.PerSourceNetBlockSize == (NetBlockSize{}) {
		l.PerSourceNetBlockSize = d.PerSourceNetBlockSize
	}
	if b := l.PerSourceNetBlockSize; b.IPv4 < 0 || b.IPv4 > 32 || b.IPv6 < 0 || b.IPv6 > 128 {
		errs = append(errs, fmt.Errorf("net block size %d:%d: expected up to 32:128", b.IPv4, b.IPv6))
	}
	for _, c := range []struct {
		value     *int
		name      string
		otherwise int
	}{
		{&l.PerSourceMaxStartups, "maximum of startups per source", 0},
		{&l.PerSourcePenalties.MaxSources4, "maximum of penalized IPv4 sources", d.PerSourcePenalties.MaxSources4},
		{&l.PerSourcePenalties.MaxSources6, "maximum of penalized IPv6 sources", d.PerSourcePenalties.MaxSources6},
		{&l.MaxAuthTries, "maximum of login tries", d.MaxAuthTries},
		{&l.MaxSessions, "maximum of sessions per connection", d.MaxSessions},
		{&l.MaxConnections, "maximum of connections", d.MaxConnections},
		{&l.MaxConnectionsPerUser, "maximum of connections per user", d.MaxConnectionsPerUser},
		{&l.MaxSessionsPerUser, "maximum of sessions per user", d.MaxSessionsPerUser},
	} {
		errs = append(errs, otherwise(c.value, c.name, c.otherwise))
	}
	p := &l.PerSourcePenalties
	for _, c := range []struct {
		value     *time.Duration
		name      string
		otherwise time.Duration
	}{
		{&p.Crash, "penalty for a crash", d.PerSourcePenalties.Crash},
		{&p.AuthFail, "penalty for a failed login", d.PerSourcePenalties.AuthFail},
		{&p.NoAuth, "penalty for no login", d.PerSourcePenalties.NoAuth},
		{&p.GraceExceeded, "penalty for a slow login", d.PerSourcePenalties.GraceExceeded},
		{&p.Max, "maximum penalty", d.PerSourcePenalties.Max},
		{&p.Min, "minimum penalty", d.PerSourcePenalties.Min},
		{&l.LoginGraceTime, "login grace time", d.LoginGraceTime},
		{&l.UnusedConnectionTimeout, "timeout of unused connections", d.UnusedConnectionTimeout},
	} {
		errs = append(errs, otherwise(c.value, c.name, c.otherwise))
	}
	return l, errors.Join(errs...)
}

// otherwise replaces a zero value by its default, and rejects a negative one.
func otherwise[T ~int | ~int64](value *T, name string, byDefault T) error {
	if *value < 0 {
		return fmt.Errorf("%s is negative: %v", name, *value)
	}
	if *value == 0 {
		*value = byDefault
	}
	return nil
}

// source returns the network that an address belongs to; the zero Prefix if it is not an IP
// address.
func (l *Limits) source(addr net.Addr) netip.Prefix {
	ip := addressOf(addr)
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	bits := l.PerSourceNetBlockSize.IPv4
	if ip.Is6() {
		bits = l.PerSourceNetBlockSize.IPv6
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // impossible: complete has checked the sizes
	}
	return prefix
}

// exempt reports whether connections from the address get no penalties.
func (l *Limits) exempt(addr net.Addr) bool {
	ip := addressOf(addr)
	return !ip.IsValid() || l.PerSourcePenalties.Disabled ||
		slices.ContainsFunc(l.PerSourcePenaltyExempt, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// addressOf returns the IP address of a TCP address, as IPv4 if it is a mapped one, without a zone.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
