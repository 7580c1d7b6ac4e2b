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
	// pingInterval is how long a connection may be silent before the kernel tests it, and how long the
	// drain's may take to answer. Without it a connection that a firewall forgot would take a request,
	// and keep it until that is given up.
	pingInterval = 15 * time.Second
	// writeBuffer is as much as a record of TLS holds: a small request is one.
	writeBuffer = 16 << 10
	// idleConnections is more than any sink writes at once, so that connections are kept.
	idleConnections = 128
)

// DefaultLifetime bounds the use of a connection to a drain.
const DefaultLifetime = 10 * time.Minute

// JitteredLifetime returns how long a connection is used whose lifetime is set: a random duration
// from four fifths of it to all of it, so that not all connections of all processes are made anew
// at once. 0 stands for [DefaultLifetime].
func JitteredLifetime(lifetime time.Duration) time.Duration {
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	return lifetime - rand.N(lifetime/5+1)
}

// A Transport is an [http.RoundTripper] for the sinks that speak HTTP: TLS as set, HTTP/1.1,
// connections kept, a [Proxy]. Answers in gzip are decompressed, although none is asked for.
//
// HTTP/2 is not spoken, though drains offer it: a sink has few requests under way at a time, its
// bodies are large, and in frames of 16 KiB they cost both sides up to twice the processor time;
// and one lost packet holds up all requests.
//
// Connections have a lifetime: from its end on, requests go over new ones, for which the name is
// looked up again. Requests in flight end on the old ones, which are then closed. Without it a
// connection that is never idle would never follow a name that moved.
//
// As a RoundTripper it follows no redirect. Its errors are for [TransportError]: their text can
// quote the drain.
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
	// Timeout is how long the drain may take from having the request to the first byte of its
	// answer; 0 for as long as the request's context lasts.
	Timeout time.Duration
	// Lifetime bounds the use of a connection: see [JitteredLifetime].
	Lifetime time.Duration
	// Proxy is the way to the drain.
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
	}
	if check.Enabled() {
		reportAnswer(request, response, err)
	}
	return response, err
}

// release notes that a call of RoundTrip has returned. Of a retired pool, the last one has the
// connections closed: those that are idle now, and each of the others when its answer has been
// read. Before that it would not do, since net/http keeps connections again from each new request
// on.
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

// Close closes all connections, with the goroutines that serve them. It is for the time when no
// request is under way; requests after it fail.
//
// To close the idle ones would not do: a connection is not idle yet when the last request on it was
// cancelled a moment ago, and would stay.
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

// An openConn is a connection that its transport knows of until it is closed.
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

// Renew looks whether the file with the authorities has changed. Then requests from now on go over
// new connections, which are verified against the new ones. A sink calls it for each batch: a
// request by itself may cost little more than looking.
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

// replace has requests from now on go over new connections, and reports whether it could. Those of
// requests in flight are closed when these end. r.mu is held.
func (r *Transport) replace(now time.Time) bool {
	next, err := r.make()
	if err != nil {
		// A file is being replaced, or is spoiled: the connections from before stay in use, and the
		// next request tries again.
		return false
	}
	r.current.retired = true
	r.current.CloseIdleConnections()
	r.current, r.expires = next, now.Add(JitteredLifetime(r.lifetime))
	return true
}
