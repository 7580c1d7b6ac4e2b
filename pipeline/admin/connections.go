package admin

import (
	"container/list"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// Limits bound the connections that are open at once. A limit of zero is none.
type Limits struct {
	// Connections is the maximum in total, PerAddress that of one source address; a /64 of IPv6 counts
	// as one address.
	Connections, PerAddress int
}

// reportEvery is the shortest time between two log lines about connections that were closed for a
// limit.
const reportEvery = 10 * time.Second

// A guard is a listener that bounds the connections that are open at once.
//
// Where a limit is reached, a new connection takes the place of the oldest one that has not sent
// the credentials of an operator: of its own address, or else of the address with the most
// connections. Clients that hold connections open therefore lock nobody out. Where there is no such
// connection, the new one is closed at once.
type guard struct {
	net.Listener
	limits Limits
	// shared reports whether an address is a proxy's, to which the limit of one address does not
	// apply.
	shared  func(netip.Addr) bool
	metrics *Metrics
	log     *slog.Logger

	mu       sync.Mutex // guards what follows
	open     int
	sources  map[netip.Addr]*list.List // of *conn, the oldest first; none is empty
	reported time.Time                 // when a closed connection was logged last
	silent   int                       // connections that were closed since then
}

func newGuard(l net.Listener, limits Limits, shared func(netip.Addr) bool, m *Metrics, log *slog.Logger) *guard {
	return &guard{Listener: l, limits: limits, shared: shared, metrics: m, log: log, sources: make(map[netip.Addr]*list.List)}
}

// A conn is a connection that a guard counts.
type conn struct {
	net.Conn
	guard  *guard
	source netip.Addr
	// trusted is set while a request with the credentials of an operator is in progress.
	trusted atomic.Bool

	place *list.Element // in guard.sources, nil once the connection does not count; guard.mu guards it
}

// Accept implements [net.Listener].
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if counted := g.take(c); counted != nil {
			return counted, nil
		}
	}
}

// take returns a connection as one that counts, or closes it and returns nil.
func (g *guard) take(c net.Conn) *conn {
	counted := &conn{Conn: c, guard: g, source: sourceOf(c.RemoteAddr())}
	victim, ok := g.admit(counted)
	if victim != nil {
		victim.reset()
	}
	if !ok {
		c.Close()
		return nil
	}
	return counted
}

// admit counts a connection in, and returns the one whose place it takes, if any.
func (g *guard) admit(c *conn) (victim *conn, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.sources[c.source]
	switch {
	case own != nil && g.limits.PerAddress > 0 && own.Len() >= g.limits.PerAddress && !g.shared(c.source):
		victim = oldest(own)
	case g.limits.Connections > 0 && g.open >= g.limits.Connections:
		victim = g.heaviest()
	default:
		g.add(c)
		return nil, true
	}
	g.report(c.source)
	if victim == nil {
		return nil, false
	}
	g.remove(victim)
	g.add(c)
	return victim, true
}

// heaviest returns the oldest connection that may be closed, of the address that has the most
// connections.
func (g *guard) heaviest() (victim *conn) {
	most := 0
	for _, all := range g.sources {
		if all.Len() <= most {
			continue
		}
		if c := oldest(all); c != nil {
			victim, most = c, all.Len()
		}
	}
	return victim
}

// oldest returns the first connection of a list that may be closed, or nil.
func oldest(all *list.List) *conn {
	for e := all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); !c.trusted.Load() {
			return c
		}
	}
	return nil
}

func (g *guard) add(c *conn) {
	all := g.sources[c.source]
	if all == nil {
		all = list.New()
		g.sources[c.source] = all
	}
	c.place = all.PushBack(c)
	g.open++
	g.metrics.open.Inc()
}

func (g *guard) remove(c *conn) {
	if c.place == nil {
		return
	}
	all := g.sources[c.source]
	all.Remove(c.place)
	if c.place = nil; all.Len() == 0 {
		delete(g.sources, c.source)
	}
	g.open--
	g.metrics.open.Dec()
}

// report counts a connection that is closed for a limit, and logs it, at most once in reportEvery.
func (g *guard) report(source netip.Addr) {
	g.metrics.closed.Inc()
	g.silent++
	if now := time.Now(); now.Sub(g.reported) >= reportEvery {
		g.log.Warn("admin: closed connections for a limit", "connections", g.silent, "last_from", source, "open", g.open,
			"max_connections", g.limits.Connections, "max_connections_per_address", g.limits.PerAddress)
		g.reported, g.silent = now, 0
	}
}

// Close implements [net.Conn]. The connection no longer counts from then on.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *conn) leave() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	c.guard.remove(c)
}

// reset closes the connection without waiting for its peer to take what was sent.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // fails only where it is closed already
	}
	c.Conn.Close()
}

// CloseWrite is for net/http, which ends an answer with it so that the client can read the rest.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// counted returns the guard's connection below one of an http.Server.
func counted(c net.Conn) *conn {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	held, _ := c.(*conn)
	return held
}

// sourceOf returns the address that connections are counted by; the zero Addr for those of a Unix
// socket.
func sourceOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	source := tcp.AddrPort().Addr().Unmap().WithZone("")
	if source.Is6() { // a client has all of a /64
		if network, err := source.Prefix(64); err == nil {
			source = network.Addr()
		}
	}
	return source
}

type connKey struct{}

// trust keeps the connection of a request open while the request is in progress, whatever the
// limits.
func trust(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && c != nil {
		c.trusted.Store(true)
	}
}

// Metrics are those of the admin server's connections.
type Metrics struct {
	open   prometheus.Gauge
	closed prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "admin_connections",
			Help: "Connections to the admin server that are open."}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "admin_connections_closed_total",
			Help: "Connections to the admin server that were closed because a limit was reached."}),
	}
	r.MustRegister(m.open, m.closed)
	return m
}
