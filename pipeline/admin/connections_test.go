package admin

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// An offeredConn is a connection from an address that records whether it is closed.
type offeredConn struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (c *offeredConn) RemoteAddr() net.Addr { return c.from }

func (c *offeredConn) Close() error {
	c.closed = true
	return nil
}

func newTestGuard(l net.Listener, limits Limits, log *slog.Logger) *guard {
	proxy := netip.MustParseAddr("10.0.0.1")
	return newGuard(l, limits, func(a netip.Addr) bool { return a == proxy }, NewMetrics(prometheus.NewRegistry()), log)
}

// connect offers a connection, and returns it and the server's end; nil if it was closed.
func connect(g *guard, from string) (*offeredConn, *conn) {
	offered := &offeredConn{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 40000))}
	return offered, g.count(offered)
}

// valueOf returns the value of a counter or gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var got dto.Metric
	if err := m.Write(&got); err != nil {
		t.Fatal(err)
	}
	return got.GetCounter().GetValue() + got.GetGauge().GetValue()
}

// TestGuard holds connections open from one address and from many: other clients can still connect,
// connections with credentials stay open, and the counts return to zero.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := newTestGuard(nil, Limits{Connections: 20, PerAddress: 4}, slog.New(slog.NewTextHandler(&log, nil)))
		var held []*offeredConn
		var all []*conn
		hold := func(from string) *conn {
			offered, c := connect(g, from)
			if c == nil {
				t.Fatalf("a connection from %s was refused with %d open", from, g.open)
			}
			held, all = append(held, offered), append(all, c)
			return c
		}
		// The fifth connection of an address replaces its first, and so on; a /64 is one address.
		for range 4 {
			hold("192.0.2.1")
		}
		all[1].trusted.Store(true)
		hold("192.0.2.1")
		hold("192.0.2.1")
		for i, closed := range []bool{true, false, true, false, false, false} {
			if held[i].closed != closed {
				t.Errorf("connection %d of one address: closed is %t", i, held[i].closed)
			}
		}
		for _, from := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::ffff", "2001:db8::5"} {
			hold(from)
		}
		if g.open != 8 || len(g.sources) != 2 {
			t.Errorf("%d connections of %d addresses", g.open, len(g.sources))
		}
		// A proxy's connections only count for the total.
		for range 12 {
			hold("10.0.0.1")
		}
		if g.open != 20 {
			t.Fatalf("%d connections", g.open)
		}
		// All places are used: a new connection replaces the oldest one of the address with the most.
		first := held[len(held)-12]
		hold("198.51.100.7")
		if !first.closed || g.open != 20 {
			t.Errorf("the oldest of the most was closed: %t, %d connections", first.closed, g.open)
		}
		if got := valueOf(t, g.metrics.closed); got != 4 || valueOf(t, g.metrics.open) != 20 {
			t.Errorf("the metrics count %v closed", got)
		}
		// If all have credentials, the new one is closed.
		for _, c := range all {
			c.trusted.Store(true)
		}
		if offered, c := connect(g, "198.51.100.8"); c != nil || !offered.closed {
			t.Error("a connection beyond those that are trusted was accepted")
		}
		// The log has at most one line in ten seconds.
		if n := bytes.Count(log.Bytes(), []byte("\n")); n != 1 {
			t.Errorf("%d log lines:\n%s", n, &log)
		}
		time.Sleep(reportEvery)
		connect(g, "198.51.100.8")
		if !bytes.Contains(log.Bytes(), []byte("connections=5")) {
			t.Errorf("the log does not count:\n%s", &log)
		}
		for _, c := range all {
			c.Close()
			c.Close() // as net/http sometimes does
		}
		if g.open != 0 || len(g.sources) != 0 || valueOf(t, g.metrics.open) != 0 {
			t.Errorf("%d connections are left", g.open)
		}
	})
}

// TestGuardListener checks that replaced connections are reset, that CloseWrite reaches the
// connection, and that errors of the listener reach the server.
func TestGuardListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newTestGuard(l, Limits{Connections: 1}, slog.New(slog.DiscardHandler))
	dial := func() (client net.Conn, server *conn) {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		c, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return client, c.(*conn)
	}
	first, _ := dial()
	second, server := dial()
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the first connection: %v", err)
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := second.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end of writing: %v", err)
	}
	l.Close()
	if _, err := g.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed listener: %v", err)
	}
}
