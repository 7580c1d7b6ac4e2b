package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// elsewhere connects from a different local address.
func elsewhere(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := dialer.Dial("tcp", address)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("SKIPPED: this system has one loopback address only")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// login logs in on a connection.
func (s *stand) login(c net.Conn, app string, key ssh.Signer) (*ssh.Client, error) {
	conn, channels, requests, err := ssh.NewClientConn(c, s.address, s.clientConfig(app, key))
	if err != nil {
		return nil, err
	}
	client := ssh.NewClient(conn, channels, requests)
	s.t.Cleanup(func() { client.Close() })
	return client, nil
}

// A flooder opens connections from one address, and holds those that are not refused.
type flooder struct {
	s       *stand
	release chan struct{} // closed at the end of the test
	holding sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newFlooder(s *stand) *flooder {
	f := &flooder{s: s, release: make(chan struct{})}
	s.t.Cleanup(func() {
		close(f.release)
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.holding.Wait()
	})
	return f
}

// open opens n connections one after the other, continues each up to the stage, and returns how
// many were not refused.
func (f *flooder) open(n int, stage string) (held int) {
	f.s.t.Helper()
	for range n {
		c, err := net.Dial("tcp", f.s.address)
		if err != nil {
			f.s.t.Fatal(err)
		}
		start := make([]byte, 4)
		if _, err := io.ReadFull(c, start); err != nil || string(start) != "SSH-" {
			c.Close()
			continue
		}
		held++
		f.mu.Lock()
		f.conns = append(f.conns, c)
		f.mu.Unlock()
		if stage == "silent" {
			continue
		}
		reached := make(chan struct{})
		f.holding.Go(func() { // ends with release and with the connection
			config := f.s.clientConfig("web")
			hold := sync.OnceFunc(func() {
				close(reached)
				<-f.release
			})
			if stage == "in the key exchange" {
				config.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { hold(); return nil }
			}
			config.Auth = []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { hold(); return nil, nil })}
			ssh.NewClientConn(&rewound{c, start}, f.s.address, config)
		})
		wait(f.s.t, reached, stage)
	}
	return held
}

// rewound is a connection whose first bytes are read again.
type rewound struct {
	net.Conn
	start []byte
}

func (r *rewound) Read(p []byte) (int, error) {
	if len(r.start) > 0 {
		n := copy(p, r.start)
		r.start = r.start[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// TestFlood: thousands of connections from one address that do not log in, whatever the stage at
// which they stop, affect no other address, and few lines are logged.
func TestFlood(t *testing.T) {
	for _, stage := range []string{"silent", "in the key exchange", "in the login"} {
		t.Run(stage, func(t *testing.T) {
			metrics := NewMetrics(prometheus.NewRegistry())
			s := serve(t, sessiontest.NewShells(), func(o *Options) { o.ConnectionMetrics = metrics })
			const n = 3000
			held := newFlooder(s).open(n, stage)
			if full := DefaultLimits().MaxStartups; held < full.Begin || held > full.Full {
				t.Errorf("%d of %d connections are held, expected from %d to %d", held, n, full.Begin, full.Full)
			}
			if refused := valueOf(t, metrics.refused.WithLabelValues(refusedStartups)); int(refused) != n-held {
				t.Errorf("%v connections are counted as refused, %d were", refused, n-held)
			}
			if starting := valueOf(t, metrics.starting); int(starting) != held {
				t.Errorf("%v connections are counted as starting, %d are", starting, held)
			}
			// Nine at a time from another address, by the user whose name the flood uses too.
			var logins sync.WaitGroup
			errs := make(chan error, 100)
			for range 9 {
				c := elsewhere(t, s.address)
				logins.Go(func() {
					if _, err := s.login(c, "web", s.ada); err != nil {
						errs <- err
					}
				})
			}
			logins.Wait()
			close(errs)
			for err := range errs {
				t.Errorf("a login from elsewhere: %v", err)
			}
			if lines := strings.Count(s.log.String(), "connection refused"); lines == 0 || lines > 5 {
				t.Errorf("%d lines are logged for %d refused connections", lines, n-held)
			}
		})
	}
}

// TestOffences: the penalty of a source depends on what its connection did before it ended without
// a login; a login is not penalized.
func TestOffences(t *testing.T) {
	metrics := NewMetrics(prometheus.NewRegistry())
	s := serve(t, sessiontest.NewShells(), func(o *Options) {
		o.ConnectionMetrics = metrics
		o.Limits.LoginGraceTime = time.Second
		o.Authorizer = failing{o.Authorizer.(people)}
	})
	stranger, _ := newKey(t)
	for _, test := range []struct {
		want offence
		do   func()
	}{
		{notTried, func() {
			c, err := net.Dial("tcp", s.address)
			if err == nil {
				c.Read(make([]byte, 1)) // the gateway has accepted the connection then
				c.Close()
			}
		}},
		{authFailed, func() { ssh.Dial("tcp", s.address, s.clientConfig("web", stranger)) }},
		{crashed, func() { ssh.Dial("tcp", s.address, s.clientConfig("panic", s.ada)) }},
		{graceExceeded, func() {
			if c, err := net.Dial("tcp", s.address); err == nil {
				io.Copy(io.Discard, c)
				c.Close()
			}
		}},
		{"", func() { s.dial("web", s.ada).Close() }},
	} {
		s.admission.mu.Lock()
		s.admission.penalties4 = penaltyTable{}
		s.admission.mu.Unlock()
		before := make(map[offence]float64)
		offences := []offence{crashed, authFailed, notTried, graceExceeded}
		for _, o := range offences {
			before[o] = valueOf(t, metrics.failed.WithLabelValues(string(o)))
		}
		test.do()
		s.quiet()
		for _, o := range offences {
			want := 0.0
			if o == test.want {
				want = 1
			}
			if got := valueOf(t, metrics.failed.WithLabelValues(string(o))) - before[o]; got != want {
				t.Errorf("%q: counted %v times as %q, expected %v", test.want, got, o, want)
			}
		}
	}
}

// failing is an Authorizer that fails.
type failing struct{ people }

func (f failing) Authorize(login Login) (Grant, error) {
	if login.App == "panic" {
		panic("a fault in the authorizer")
	}
	return f.people.Authorize(login)
}

// quiet waits until no connection is left.
func (s *stand) quiet() {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		s.mu.Lock()
		left := len(s.connections)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Since(began) > patience {
			s.t.Fatalf("%d connections are left", left)
		}
	}
}

// TestPenaltyRefusesConnection: after too many failures a source is refused with a message, and
// others are not.
func TestPenaltyRefusesConnection(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	stranger, _ := newKey(t)
	for range 4 {
		if c, err := ssh.Dial("tcp", s.address, s.clientConfig("web", stranger)); err == nil {
			c.Close()
			t.Fatal("a stranger logged in")
		}
		s.quiet()
	}
	if text := refusal(t, s.address); !strings.HasPrefix(text, "ttydrain: not allowed at this time") {
		t.Errorf("after four failed logins: %q", text)
	}
	if _, err := s.login(elsewhere(t, s.address), "web", s.ada); err != nil {
		t.Errorf("a login from elsewhere: %v", err)
	}
}

// TestPerUserLimits: a user's connections and sessions are limited across all connections, with a
// message that the client shows, and others can log in.
func TestPerUserLimits(t *testing.T) {
	metrics := NewMetrics(prometheus.NewRegistry())
	s := serve(t, sessiontest.NewShells(), func(o *Options) {
		o.ConnectionMetrics = metrics
		o.Limits.MaxConnectionsPerUser, o.Limits.MaxSessionsPerUser = 2, 3
	})
	first, second := s.dial("web", s.ada), s.dial("web", s.ada)
	config := s.clientConfig("web", s.ada)
	var banner string
	config.BannerCallback = func(text string) error { banner = text; return nil }
	if c, err := ssh.Dial("tcp", s.address, config); err == nil || !strings.Contains(banner, "you have 2 connections") {
		c.Close()
		t.Errorf("a third connection: %v, banner %q", err, banner)
	}
	if failed := valueOf(t, metrics.failed.WithLabelValues(string(authFailed))); failed != 0 {
		t.Error("it counts as a failed login")
	}
	s.dial("web", s.bob)
	ch, requests := raw(t, first)
	go ssh.DiscardRequests(requests)
	for _, client := range []*ssh.Client{first, second} {
		_, requests := raw(t, client)
		go ssh.DiscardRequests(requests)
	}
	_, _, err := second.OpenChannel("session", nil)
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refused.Reason != ssh.ResourceShortage || !strings.Contains(refused.Message, "as a user may have") {
		t.Errorf("a fourth session: %v", err)
	}
	// Ended ones free their places as soon as the gateway notices.
	ch.Close()
	for {
		_, requests, err := second.OpenChannel("session", nil)
		if err == nil {
			go ssh.DiscardRequests(requests)
			break
		}
		if !strings.Contains(err.Error(), "as a user may have") {
			t.Fatal(err)
		}
	}
	first.Close()
	for {
		c, err := ssh.Dial("tcp", s.address, s.clientConfig("web", s.ada))
		if err == nil {
			c.Close()
			break
		}
		s.admission.mu.Lock()
		held := s.admission.users["u-1"].connections
		s.admission.mu.Unlock()
		if held < 2 {
			t.Fatalf("with %d connections: %v", held, err)
		}
	}
}

// TestUnusedConnection: a login without a session is closed after a timeout, which restarts when
// the last session ends; a session channel on which nothing is started is closed too.
func TestUnusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, runs(func(context.Context, session.Request, session.IO) (session.Exit, error) {
			time.Sleep(time.Hour)
			return session.Exit{}, nil
		}), func(o *Options) { o.Limits.UnusedConnectionTimeout = time.Minute })
		l := newMemoryListener()
		s.start(l)
		closedAfter := func(client *ssh.Client, began time.Time, want time.Duration, what string) {
			client.Wait()
			if took := time.Since(began); took != want {
				t.Errorf("%s: closed after %s, expected %s", what, took, want)
			}
		}
		began := time.Now()
		closedAfter(s.dialMemory(t, l), began, time.Minute, "without a session")

		client := s.dialMemory(t, l)
		time.Sleep(30 * time.Second)
		began = time.Now()
		ch, requests := raw(t, client)
		go ssh.DiscardRequests(requests)
		ch.SendRequest("shell", true, nil)
		closedAfter(client, began, time.Hour+time.Minute, "after a session")

		client, began = s.dialMemory(t, l), time.Now()
		ch, requests = raw(t, client)
		go ssh.DiscardRequests(requests)
		text, _ := io.ReadAll(ch.Stderr())
		if !strings.Contains(string(text), "nothing was started") {
			t.Errorf("a channel on which nothing was started: %q", text)
		}
		closedAfter(client, began, 2*time.Minute, "with a channel on which nothing was started")
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusalLog: the first event of a kind is logged and the others are counted. Neither sources
// nor messages can exceed the limit on log lines.
func TestRefusalLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		r := newRefusalLog(log)
		one := refusalKind{netip.MustParsePrefix("192.0.2.1/32"), "connection refused", refusedStartups}
		for range 20_000 {
			r.report(log, slog.LevelWarn, 1, one)
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Fatalf("%d lines:\n%s", n, &out)
		}
		time.Sleep(refusalInterval)
		synctest.Wait()
		if text := out.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, `msg="connection refused repeatedly" reason=max_startups source=192.0.2.1 count=20000`) {
			t.Fatalf("after the interval:\n%s", text)
		}
		out.buf = bytes.Buffer{}
		for i := range 5000 {
			kind := refusalKind{netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 32), "handshake failed", ""}
			for range 3 {
				r.report(log, slog.LevelWarn, 1, kind)
			}
		}
		r.close()
		if n := strings.Count(out.String(), "\n"); n != 2*refusalKinds+1 || !strings.Contains(out.String(), "count=14808") {
			t.Errorf("%d lines for 5000 sources", n)
		}
	})
}

// TestConnectionRefusalLog: a client that repeats refused requests does not fill the log.
func TestConnectionRefusalLog(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	client := s.dial("web", s.ada)
	for range 200 {
		client.OpenChannel("direct-tcpip", nil)
	}
	client.Close()
	s.quiet()
	if log := s.log.String(); strings.Count(log, "msg=refused ") != loggedRefusals || !strings.Contains(log, `msg="refused repeatedly"`) || !strings.Contains(log, "count=200") {
		t.Errorf("log:\n%s", log)
	}
}

// valueOf returns the value of a counter or a gauge.
func valueOf(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}
