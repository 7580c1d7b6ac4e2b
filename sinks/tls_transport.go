package sinks

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	// pingInterval is how long a connection may be silent before the kernel tests it, and how long the drain's may take to answer.
	// Without it a connection that a firewall forgot would take a request, and keep it until that is given up.
	pingInterval = 15 * time.Second
	// writeBuffer is as much as a record of TLS holds: a small request is one.
	writeBuffer = 16 << 10
	// idleConnections is more than any sink writes at once, so that connections are kept.
	idleConnections = 128
)

// A Transport is an [http.RoundTripper] for the sinks that speak HTTP: TLS as set, HTTP/1.1, connections kept, the proxy from the environment (HTTPS_PROXY, HTTP_PROXY,
// NO_PROXY), answers not decompressed.
//
// HTTP/2 is not spoken, though drains offer it: a sink has few requests under way at a time, its bodies are large, and in frames of
// 16 KiB they cost both sides up to twice the processor time; and one lost packet holds up all requests.
//
// As a RoundTripper it follows no redirect. Its errors are for [TransportError]: their text can quote the drain.
type Transport struct {
	tls     TLS
	timeout time.Duration

	mu      sync.Mutex      // guards current and ca
	current *http.Transport // never nil
	ca      os.FileInfo     // of CAFile when current was made; nil without one

	openMu sync.Mutex // guards what follows; may be taken while mu is held
	open   map[*openConn]struct{}
	closed bool
}

// Transport reads the files and makes a transport. timeout is how long the drain may take from
// having the request to the first byte of its answer; 0 for as long as the request's context lasts.
func (t TLS) Transport(timeout time.Duration) (*Transport, error) {
	r := &Transport{tls: t, timeout: timeout, open: make(map[*openConn]struct{})}
	if t.CAFile != "" {
		// Before the file is read: if it changes in between, it is read once more than needed.
		r.ca, _ = os.Stat(t.CAFile)
	}
	var err error
	r.current, err = r.make()
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Transport) make() (*http.Transport, error) {
	config, err := r.tls.Config()
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(ctx context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			peerOf(ctx).update(func(p *peer) { p.proxyStatus = answer.StatusCode })
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
	}, nil
}

// RoundTrip implements [http.RoundTripper].
func (r *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	tracing := Tracing(request.Context())
	if tracing {
		request = traced(request)
	}
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	response, err := current.RoundTrip(request)
	if err != nil && closedEarly(err) {
		err = r.diagnose(request, err)
	}
	if tracing {
		answered(request.Context(), response, err)
	}
	return response, err
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
// To close the idle ones would not do: a connection is not idle yet when the last request on it was cancelled a moment
// ago, and would stay.
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

// Renew looks whether the file with the authorities has changed. Then requests from now on go over new connections, which are verified
// against the new ones. A sink calls it for each batch: a request by itself may cost little more than looking.
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
	next, err := r.make()
	if err != nil {
		// Somebody is writing the file just now, or it is spoiled: what was trusted stays so,
		// and the next batch looks again.
		return
	}
	r.current.CloseIdleConnections()
	r.current, r.ca = next, info
}

// A proxyError is a proxy's answer to CONNECT that is not 200.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return "the proxy answered " + strconv.Itoa(e.status)
}

func (e *proxyError) verdict(doing string) *Error {
	v := &Error{Verdict: Misconfigured, Err: e}
	switch e.status {
	case http.StatusProxyAuthRequired, http.StatusUnauthorized:
		v.Reason = doing + ": the proxy refuses the credentials: correct the user and password in HTTPS_PROXY"
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		v.Reason = doing + ": the proxy does not permit this drain: permit it there, or add its host to NO_PROXY"
	default:
		v.Verdict = Retry
		v.Reason = doing + ": the proxy has no connection to the drain: look into the proxy's log, or add the drain's host to NO_PROXY"
	}
	return v
}
