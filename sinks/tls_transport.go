package sinks

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	// pingInterval is the silence on a connection after which the kernel probes it, and the time
	// for the response. Without it, a request on a connection that a firewall has forgotten would
	// hang until it times out.
	pingInterval = 15 * time.Second
	// writeBuffer is the size of a TLS record: a small request is one.
	writeBuffer = 16 << 10
	// idleConnections is more than any sink uses at once, so that connections are kept.
	idleConnections = 128
)

// DefaultLifetime bounds the use of a connection to a drain.
const DefaultLifetime = 10 * time.Minute

// JitteredLifetime returns a random duration from four fifths of a connection's lifetime to all of
// it, so that the connections of all processes are not replaced at once. 0 stands for
// [DefaultLifetime].
func JitteredLifetime(lifetime time.Duration) time.Duration {
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	return lifetime - rand.N(lifetime/5+1)
}

// A Transport is an [http.RoundTripper] for sinks over HTTP: HTTP/1.1 with the TLS settings and the
// [Proxy] of the drain, and persistent connections. Responses in gzip are decompressed, although
// they are not asked for.
//
// It does not use HTTP/2, even if drains offer it: a sink has few requests in flight, with large
// bodies, which cost both sides up to twice the processor time in frames of 16 KiB; and one lost
// packet delays all requests.
//
// Connections have a lifetime: after it, requests go over new ones, for which the name is resolved
// again. Requests in flight end on the old ones, which are then closed. Without it, a connection
// that is never idle would not follow a name that moved.
//
// Like any RoundTripper, it follows no redirects. Its errors are for [TransportError]: their text
// can quote the drain.
type Transport struct {
	tls      TLS
	timeout  time.Duration
	lifetime time.Duration
	route    route

	mu      sync.Mutex  // guards what follows
	current *pool       // never nil
	expires time.Time   // when current is replaced
	ca      os.FileInfo // of CAFile when current was made; nil without one

	openMu  sync.Mutex // guards what follows; may be taken while mu is held
	open    map[*openConn]struct{}
	proxies map[string]bool // addresses of proxies that speak TLS
	closed  bool
}

// A pool is the connections of one lifetime.
type pool struct {
	*http.Transport
	calls   int  // of RoundTrip, that have not returned; guarded by Transport.mu
	retired bool // there is another pool; guarded by Transport.mu
}

// TransportOptions are the settings of a [Transport].
type TransportOptions struct {
	TLS TLS
	// Timeout bounds the time from the end of a request to the first byte of its response; 0 for no
	// bound but the request's context.
	Timeout time.Duration
	// Lifetime bounds the use of a connection: see [JitteredLifetime].
	Lifetime time.Duration
	// Proxy is the proxy to the drain.
	Proxy Proxy
}

// NewTransport reads the files and makes a transport. It connects to nothing.
func NewTransport(o TransportOptions) (*Transport, error) {
	r := &Transport{tls: o.TLS, timeout: o.Timeout, lifetime: o.Lifetime,
		open: make(map[*openConn]struct{}), proxies: make(map[string]bool)}
	if r.tls.CAFile != "" {
		// Before the file is read: if it changes in between, it is read once more than needed.
		r.ca, _ = os.Stat(r.tls.CAFile)
	}
	var err error
	if r.route, err = o.Proxy.route(); err != nil {
		return nil, err
	}
	if r.current, err = r.make(); err != nil {
		return nil, err
	}
	r.expires = time.Now().Add(JitteredLifetime(r.lifetime))
	return r, nil
}

// Transport returns a transport with these settings and a timeout as in [TransportOptions].
func (t TLS) Transport(timeout time.Duration) (*Transport, error) {
	return NewTransport(TransportOptions{TLS: t, Timeout: timeout})
}

func (r *Transport) make() (*pool, error) {
	config, err := r.tls.Config()
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &pool{Transport: &http.Transport{
		Proxy: r.proxyOf,
		OnProxyConnectResponse: func(ctx context.Context, via *url.URL, _ *http.Request, answer *http.Response) error {
			probe.From(ctx).Report(probe.ViaProxy{URL: via, Configured: r.route.fixed != nil, Status: answer.StatusCode})
			if answer.StatusCode != http.StatusOK {
				return &proxyError{status: answer.StatusCode}
			}
			return nil
		},
		DialContext: r.dial,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return r.dialTLS(ctx, config, network, address)
		},
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: r.timeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConns:          idleConnections,
		MaxIdleConnsPerHost:   idleConnections,
		Protocols:             &protocols,
		WriteBufferSize:       writeBuffer,
		DisableCompression:    true,
	}}, nil
}

// RoundTrip implements [http.RoundTripper].
func (r *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	check := probe.From(request.Context())
	if check.Enabled() {
		request = connecting(check, request)
	}
	r.mu.Lock()
	if now := time.Now(); now.After(r.expires) {
		r.replace(now)
	}
	current := r.current
	current.calls++
	r.mu.Unlock()
	response, err := current.RoundTrip(request)
	r.release(current)
	if err != nil && closedEarly(err) {
		err = r.diagnose(request, err)
	}
	if err == nil {
		decompressed(response)
	} else {
		err = r.tls.Explain(err)
	}
	if check.Enabled() {
		reportAnswer(request, response, err)
	}
	return response, err
}

// release notes that a call of RoundTrip has returned. The last call of a retired pool closes its
// connections: those that are idle at once, and the others when their responses have been read.
// Earlier it would have no effect, since net/http keeps connections again after each new request.
func (r *Transport) release(p *pool) {
	r.mu.Lock()
	p.calls--
	last := p.retired && p.calls == 0
	r.mu.Unlock()
	if last {
		p.CloseIdleConnections()
	}
}

// CloseIdleConnections closes the connections that no request uses.
func (r *Transport) CloseIdleConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.CloseIdleConnections()
}

// Close closes all connections, and ends the goroutines that serve them. No request may be in
// flight; later requests fail.
//
// Closing the idle ones is not enough: a connection whose last request was just cancelled is not
// idle yet, and would stay.
func (r *Transport) Close() {
	r.CloseIdleConnections()
	r.openMu.Lock()
	r.closed = true
	open := slices.Collect(maps.Keys(r.open))
	r.openMu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

func (r *Transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: pingInterval, Interval: pingInterval / 3, Count: 3}}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &openConn{Conn: conn, transport: r}
	r.openMu.Lock()
	defer r.openMu.Unlock()
	if r.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	r.open[c] = struct{}{}
	return c, nil
}

// An openConn is a connection that its transport tracks until it is closed.
type openConn struct {
	net.Conn
	transport *Transport
}

func (c *openConn) Close() error {
	c.transport.openMu.Lock()
	delete(c.transport.open, c)
	c.transport.openMu.Unlock()
	return c.Conn.Close()
}

// Renew checks whether the file with the authorities has changed. If so, requests from now on go
// over new connections, which are verified against the new authorities. A sink calls it for each
// batch: for each request it would cost too much.
func (r *Transport) Renew() {
	if r.tls.CAFile == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.tls.CAFile)
	if err != nil || r.ca != nil && os.SameFile(info, r.ca) && info.Size() == r.ca.Size() && info.ModTime().Equal(r.ca.ModTime()) {
		return
	}
	if r.replace(time.Now()) {
		r.ca = info
	}
}

// replace makes requests from now on go over new connections, and reports whether it could. Those
// of requests in flight are closed when these end. r.mu is held.
func (r *Transport) replace(now time.Time) bool {
	next, err := r.make()
	if err != nil {
		// A file is being replaced, or is damaged: the old connections stay in use, and the next
		// request tries again.
		return false
	}
	r.current.retired = true
	r.current.CloseIdleConnections()
	r.current, r.expires = next, now.Add(JitteredLifetime(r.lifetime))
	return true
}
