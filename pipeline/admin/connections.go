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

// Limits bound the number of open connections. Zero means no limit.
type Limits struct {
	// Connections is the limit in total and PerAddress the limit for each source address. An IPv6
	// /64 counts as one address.
	Connections, PerAddress int
}

// reportEvery is the minimum time between log lines about connections that were closed because of a
// limit.
const reportEvery = 10 * time.Second

// guard is a listener that limits the number of open connections.
//
// At a limit, a new connection replaces the oldest connection without an operator's credentials: of
// the same address or, at the total limit, of the address with the most connections. Clients that
// hold connections open therefore lock nobody out. If there is no such connection, the new one is
// closed immediately.
type guard struct {
	net.Listener
	limits Limits
	// shared reports whether an address belongs to a proxy, which is exempt from the limit per
	// address.
	shared  func(netip.Addr) bool
	metrics *Metrics
	log     *slog.Logger

	mu       sync.Mutex // guards the fields below
	open     int
	sources  map[netip.Addr]*list.List // of *conn, oldest first; never empty
	reported time.Time                 // time of the last log line about a closed connection
	silent   int                       // connections closed since then
}

func newGuard(l net.Listener, limits Limits, shared func(netip.Addr) bool, m *Metrics, log *slog.Logger) *guard {
	return &guard{Listener: l, limits: limits, shared: shared, metrics: m, log: log, sources: make(map[netip.Addr]*list.List)}
}

// conn is a connection that a guard counts.
type conn struct {
	net.Conn
	guard  *guard
	source netip.Addr
	// trusted is set while a request with an operator's credentials is in progress.
	trusted atomic.Bool

	place *list.Element // in guard.sources, nil once the connection is no longer counted; guarded by guard.mu
}

// Accept implements [net.Listener].
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if counted := g.count(c); counted != nil {
			return counted, nil
		}
	}
}

// count returns a counted connection, or closes c and returns nil.
func (g *guard) count(c net.Conn) *conn {
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

// admit counts a connection. It returns the connection that must be closed for it, if any.
func (g *guard) admit(c *conn) (victim *conn, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.sources[c.source]
	switch {
	case own != nil && g.limits.PerAddress > 0 && own.Len() >= g.limits.PerAddress && !g.shared(c.source):
		victim = oldest(own)
	case g.limits.Connections > 0 && g.open >= g.limits.Connections:
		victim = g.busiest()
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

// busiest returns the oldest replaceable connection of the address with the most connections.
func (g *guard) busiest() (victim *conn) {
	maxLen := 0
	for _, all := range g.sources {
		if all.Len() <= maxLen {
			continue
		}
		if c := oldest(all); c != nil {
			victim, maxLen = c, all.Len()
		}
	}
	return victim
}

// oldest returns the first replaceable connection of a list, or nil.
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

// report counts a connection that is closed because of a limit, and logs at most once in
// reportEvery.
func (g *guard) report(source netip.Addr) {
	g.metrics.closed.Inc()
	g.silent++
	if now := time.Now(); now.Sub(g.reported) >= reportEvery {
		g.log.Warn("admin: closed connections because of a limit", "connections", g.silent, "last_from", source, "open", g.open,
			"max_connections", g.limits.Connections, "max_connections_per_address", g.limits.PerAddress)
		g.reported, g.silent = now, 0
	}
}

// Close implements [net.Conn]. The connection is no longer counted.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *conn) leave() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	c.guard.remove(c)
}

// reset closes the connection immediately, discarding unsent data.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // fails only if the connection is already closed
	}
	c.Conn.Close()
}

// CloseWrite is used by net/http to end a response in a way that lets the client read the rest.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// countedOf returns the guard's connection that an http.Server's connection wraps, or nil.
func countedOf(c net.Conn) *conn {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	guarded, _ := c.(*conn)
	return guarded
}

// sourceOf returns the address by which connections are counted, or the zero Addr for a Unix
// socket.
func sourceOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	source := tcp.AddrPort().Addr().Unmap().WithZone("")
	if source.Is6() { // a client can use all addresses of a /64
		if network, err := source.Prefix(64); err == nil {
			source = network.Addr()
		}
	}
	return source
}

type connKey struct{}

// trust exempts a request's connection from the limits while the request is in progress.
func trust(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && c != nil {
		c.trusted.Store(true)
	}
}

// Metrics are the metrics of the admin server's connections.
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
