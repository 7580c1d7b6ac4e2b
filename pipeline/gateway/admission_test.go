package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// from returns the address of a connection from a host.
func from(host string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 50000))
}

// begun counts a new connection, which must not be refused.
func begun(t *testing.T, a *admission, host string) netip.Prefix {
	t.Helper()
	source, refused := a.begin(from(host))
	if refused != "" {
		t.Fatalf("%s: refused: %s", host, refused)
	}
	return source
}

// TestEarlyDrop compares the share of refused connections with sshd's (should_drop_connection in
// sshd.c).
func TestEarlyDrop(t *testing.T) {
	for _, s := range []Startups{{10, 30, 100}, {1, 100, 1}, {5, 50, 6}, {3, 1, 100}} {
		for n := range 2 * s.Full {
			want := 0
			switch {
			case n >= s.Full || n >= s.Begin && s.Rate == 100:
				want = 100
			case n >= s.Begin:
				want = (100-s.Rate)*(n-s.Begin)/(s.Full-s.Begin) + s.Rate
			}
			if got := s.drops(n); got != want {
				t.Errorf("%v: %d%% of connections are refused at %d, expected %d%%", s, got, n, want)
			}
		}
	}
}

// TestFloodAffectsOnlyItsSource: a source with as many startups as it can get leaves ten
// simultaneous logins to each of many others, whatever the random numbers.
func TestFloodAffectsOnlyItsSource(t *testing.T) {
	l := DefaultLimits()
	a := newAdmission(l, nil)
	a.random = func(int) int { return 99 } // the luckiest
	flood := 0
	for range 5000 {
		if _, refused := a.begin(from("192.0.2.1")); refused == "" {
			flood++
		} else if refused != refusedStartups {
			t.Fatalf("refused: %s", refused)
		}
	}
	if flood != l.MaxStartups.Full {
		t.Errorf("one source has %d startups, expected %d", flood, l.MaxStartups.Full)
	}
	a.random = func(int) int { return 0 } // the unluckiest
	for range 9 {
		begun(t, a, "192.0.2.2")
	}
	if _, refused := a.begin(from("192.0.2.2")); refused != refusedStartups {
		t.Errorf("the tenth of another source: %q", refused)
	}
	// Addresses of one IPv6 /64 are one source, and an IPv4-mapped IPv6 address is an IPv4 address.
	one, other := begun(t, a, "2001:db8::1"), begun(t, a, "2001:db8::ffff:2")
	if mapped := begun(t, a, "::ffff:192.0.2.3"); one != other || mapped != netip.MustParsePrefix("192.0.2.3/32") {
		t.Errorf("sources: %s, %s, %s", one, other, mapped)
	}
	if elsewhere := begun(t, a, "2001:db8:0:1::1"); elsewhere == one {
		t.Errorf("another network is the same source: %s", elsewhere)
	}
}

// TestPerSourceMaxStartups: each source has its own limit, and a login frees a place.
func TestPerSourceMaxStartups(t *testing.T) {
	l := DefaultLimits()
	l.PerSourceMaxStartups = 2
	a := newAdmission(l, nil)
	source := begun(t, a, "192.0.2.1")
	begun(t, a, "192.0.2.1")
	if _, refused := a.begin(from("192.0.2.1")); refused != refusedSource {
		t.Errorf("the third: %q", refused)
	}
	begun(t, a, "192.0.2.2")
	a.loggedIn(source)
	begun(t, a, "192.0.2.1")
	a.failed(source)
	begun(t, a, "192.0.2.1")
	if a.connections != 4 || a.starting != 3 {
		t.Errorf("%d connections, %d of them starting", a.connections, a.starting)
	}
}

// TestStartupLimit: connections that have not logged in never use all of the permitted ones, from
// however many sources.
func TestStartupLimit(t *testing.T) {
	l := DefaultLimits()
	a := newAdmission(l, nil)
	a.random = func(int) int { return 99 }
	for i := range 250 {
		for range 200 {
			a.begin(from(fmt.Sprintf("198.51.100.%d", i)))
		}
	}
	if a.starting == 0 || a.starting > l.MaxConnections/startupShare {
		t.Errorf("%d of %d connections have not logged in", a.starting, l.MaxConnections)
	}
}

// TestPenalties follows srclimit.c of OpenSSH: penalties add up, refuse connections from the
// minimum on, and expire.
func TestPenalties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := DefaultLimits()
		l.PerSourcePenaltyExempt = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		a := newAdmission(l, nil)
		offend := func(host string, o offence) bool {
			return a.punish(from(host), l.source(from(host)), o)
		}
		refused := func(host string) bool {
			source, why := a.begin(from(host))
			if why == "" {
				a.failed(source)
			}
			return why == refusedPenalty
		}
		// Three failed logins are 15 s, which is not more than the minimum.
		for i := range 3 {
			if offend("192.0.2.1", authFailed) || refused("192.0.2.1") {
				t.Fatalf("refused after %d failed logins", i+1)
			}
		}
		if !offend("192.0.2.1", authFailed) || !refused("192.0.2.1") || refused("192.0.2.2") {
			t.Fatal("the fourth failed login")
		}
		time.Sleep(19 * time.Second)
		if !refused("192.0.2.1") {
			t.Error("not refused after 19 of 20 s")
		}
		time.Sleep(time.Second)
		if refused("192.0.2.1") {
			t.Error("refused after 20 s")
		}
		// Expired penalties do not add up.
		for range 100 {
			offend("192.0.2.3", authFailed)
			time.Sleep(5 * time.Second)
		}
		if refused("192.0.2.3") {
			t.Error("refused for a failed login every 5 s")
		}
		if offend("192.0.2.4", crashed); !refused("192.0.2.4") {
			t.Error("not refused after a crash")
		}
		for range 1000 {
			offend("2001:db8::1", graceExceeded)
		}
		if !refused("2001:db8::2") {
			t.Error("not refused for another address of its network")
		}
		time.Sleep(l.PerSourcePenalties.Max)
		if refused("2001:db8::1") {
			t.Error("refused for longer than the maximum")
		}
		for range 1000 {
			offend("203.0.113.7", authFailed)
		}
		if refused("203.0.113.7") {
			t.Error("an exempt address is refused")
		}
		refused("192.0.2.9") // removes expired penalties
		if n := len(a.penalties4.byExpiry) + len(a.penalties6.byExpiry); n != 0 {
			t.Errorf("%d penalties are kept after all have expired", n)
		}
	})
}

// TestPenaltyTableLimit: the penalties that expire first are dropped.
func TestPenaltyTableLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := DefaultLimits().PerSourcePenalties
		var table penaltyTable
		worst := netip.MustParsePrefix("192.0.2.1/32")
		table.punish(worst, crashed, &p, 100, time.Now())
		for i := range 1000 {
			source := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 32)
			table.punish(source, authFailed, &p, 100, time.Now())
		}
		if len(table.bySource) != 100 || len(table.byExpiry) != 100 {
			t.Errorf("%d sources, %d penalties", len(table.bySource), len(table.byExpiry))
		}
		if !table.refuses(worst, time.Now()) {
			t.Error("the longest penalty was dropped")
		}
	})
}

// TestSetLimits: changed limits apply to later connections.
func TestSetLimits(t *testing.T) {
	g := newStand(t, sessiontest.NewShells())
	source := begun(t, g.admission, "192.0.2.1")
	l := DefaultLimits()
	l.MaxStartups = Startups{1, 100, 1}
	if err := g.SetLimits(l); err != nil {
		t.Fatal(err)
	}
	if _, refused := g.admission.begin(from("192.0.2.1")); refused != refusedStartups {
		t.Errorf("under the new limits: %q", refused)
	}
	l.MaxSessions = -1
	if err := g.SetLimits(l); err == nil {
		t.Error("a negative limit was accepted")
	}
	g.admission.failed(source)
	begun(t, g.admission, "192.0.2.1")
}
