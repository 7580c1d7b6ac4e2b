package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Limits bound what clients may hold. The names, and the defaults of those that sshd_config(5) has,
// are OpenSSH's; a zero takes the default.
type Limits struct {
	// MaxStartups limits the connections that have not logged in: 10:30:100.
	MaxStartups Startups
	// PerSourceMaxStartups limits those of one source; 0 for no limit of their own.
	PerSourceMaxStartups int
	// PerSourceNetBlockSize sets how many leading bits of an address make a source: 32:64.
	// OpenSSH's default is 32:128, and a single host usually has a whole IPv6 /64.
	PerSourceNetBlockSize NetBlockSize
	// PerSourcePenalties refuse the connections of a source for a time after some have failed.
	PerSourcePenalties Penalties
	// PerSourcePenaltyExempt are addresses without penalties, such as those of proxies; none by
	// default.
	PerSourcePenaltyExempt []netip.Prefix
	// LoginGraceTime limits how long a login may take from the accepted connection on, key exchange
	// and passphrase prompts included; 2 min.
	LoginGraceTime time.Duration
	MaxAuthTries   int // refused keys per connection; 6
	MaxSessions    int // session channels per connection; 10

	// OpenSSH has no such limits, but for UnusedConnectionTimeout, which it leaves off.
	MaxConnections          int           // of all clients; 4096
	MaxConnectionsPerUser   int           // connections on which one user is logged in; 256
	MaxSessionsPerUser      int           // session channels on all of a user's connections; 512
	UnusedConnectionTimeout time.Duration // how long a login may stay without a session; 10 min
}

// Startups is a limit in the form of MaxStartups of sshd_config(5). From Begin connections on, Rate
// percent of further ones are refused, then linearly more, and all of them from Full on.
type Startups struct{ Begin, Rate, Full int }

// drops returns how many of 100 connections are refused when there are n already.
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

// Penalties are durations that failed connections add up to, as PerSourcePenalties of
// sshd_config(5). A source is refused while more than Min has added up and not passed, and never
// for longer than Max.
type Penalties struct {
	Disabled      bool
	Crash         time.Duration // the connection made the gateway fail; 90 s
	AuthFail      time.Duration // it tried to log in, and did not succeed; 5 s
	NoAuth        time.Duration // it ended without having tried; 1 s
	GraceExceeded time.Duration // it took longer than LoginGraceTime; 10 s
	Max           time.Duration // 10 min
	Min           time.Duration // 15 s
	// MaxSources4 and MaxSources6 limit how many sources are remembered; 65536 each. Beyond, those
	// whose penalties end first are forgotten.
	MaxSources4, MaxSources6 int
}

// DefaultLimits returns the limits that hold where none are set.
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

// complete returns the limits with defaults in place of zeros, or every mistake in them.
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

// otherwise sets a value that is zero to its default, and refuses a negative one.
func otherwise[T ~int | ~int64](value *T, name string, byDefault T) error {
	if *value < 0 {
		return fmt.Errorf("%s is negative: %v", name, *value)
	}
	if *value == 0 {
		*value = byDefault
	}
	return nil
}

// source returns the network that an address counts for, and the zero Prefix where the address is
// not an IP address.
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
		return netip.Prefix{} // never: complete has checked the sizes
	}
	return prefix
}

// exempt reports whether connections from the address get no penalties.
func (l *Limits) exempt(addr net.Addr) bool {
	ip := addressOf(addr)
	return !ip.IsValid() || l.PerSourcePenalties.Disabled ||
		slices.ContainsFunc(l.PerSourcePenaltyExempt, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// addressOf returns the IP address of a TCP address, an IPv4 one in its own form and without a
// zone.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
