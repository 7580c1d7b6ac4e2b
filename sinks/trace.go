package sinks

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A trace collects what a sink finds out on its way to the drain, from the context of Probe and
// Write. It is filled where connections are made, by the hooks of [httptrace.ClientTrace], which a
// [net.Dialer] calls as well as net/http does: what it tells is of the connection that carries the
// records, and not of another one that was made for looking.
type trace struct {
	mu       sync.Mutex // guards what follows, and the peers' fields
	peers    []*peer    // in the order in which they were first connected to
	accepted []string   // what the drain said to the record
	doubt    *Error     // why an accepted record may not be where it should, or nil
	own      []Step     // those that only this kind of drain has
}

// A peer is one address of the drain. What is in it is of the newest connection, until fresh is
// set.
type peer struct {
	trace  *trace
	name   string // host:port
	secure bool   // TLS is wanted
	fresh  bool   // the next event is the first one of a new connection

	via         *url.URL // the proxy, or nil
	viaSet      bool     // it is a setting, and not the environment's
	proxyStatus int      // its answer to CONNECT, or 0

	dns      *lookup    // nil where there was no name to look up, or nothing was tried
	attempts []*attempt // to connect, the oldest first
	proxyTLS *handshake // with a proxy that speaks TLS, or nil
	tls      *handshake // with the drain, or nil

	asked  bool             // for a client certificate
	client *tls.Certificate // the one that was sent; nil for none

	status        int // of the newest answer in HTTP, or 0
	protocol      string
	authenticated []string // what is known of the drain's consent to who writes; nil for nothing
	failed        *Error   // what the newest request ended with, or nil
}

type lookup struct {
	host      string
	began     time.Time
	took      time.Duration
	done      bool
	addresses []string
	err       error
}

type attempt struct {
	address string
	began   time.Time
	took    time.Duration
	done    bool
	err     error
}

type handshake struct {
	began time.Time
	took  time.Duration
	done  bool
	state tls.ConnectionState
	err   error
}

type (
	traceKey struct{} // of a context's *trace
	peerKey  struct{} // of a context's *peer
)

func traceOf(ctx context.Context) *trace {
	t, _ := ctx.Value(traceKey{}).(*trace)
	return t
}

func peerOf(ctx context.Context) *peer {
	p, _ := ctx.Value(peerKey{}).(*peer)
	return p
}

// Tracing says whether somebody wants to know the steps of what is done with ctx: see [Try]. A sink
// may then ask the drain for more than a delivery needs.
func Tracing(ctx context.Context) bool { return traceOf(ctx) != nil }

// TraceConnection says that ctx is for connecting to a drain's address (host:port), and for what is
// sent there; secure says that it is by TLS. A sink dials with the context that it returns, by a
// [net.Dialer], and hands its TLS connections to [Handshake]; those that use a [Transport] need not
// call it. Without a trace it returns ctx.
func TraceConnection(ctx context.Context, address string, secure bool) context.Context {
	t := traceOf(ctx)
	if t == nil {
		return ctx
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.peers, func(p *peer) bool { return p.name == address })
	if i < 0 {
		i = len(t.peers)
		t.peers = append(t.peers, &peer{trace: t, name: address, secure: secure})
	}
	p := t.peers[i]
	p.fresh = true
	if peerOf(ctx) == p {
		return ctx // its hooks are set
	}
	return httptrace.WithClientTrace(context.WithValue(ctx, peerKey{}, p), p.hooks())
}

// TraceAuthentication says what the drain has let be known, on the connection of ctx, of its
// consent to who writes to it: words for a person, without a secret.
func TraceAuthentication(ctx context.Context, fact string) {
	peerOf(ctx).update(func(p *peer) { p.authenticated = append(p.authenticated, fact) })
}

// TraceAcceptance says what the drain has let be known of the record that was written.
func TraceAcceptance(ctx context.Context, fact string) {
	if t := traceOf(ctx); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.accepted = append(t.accepted, fact)
	}
}

// TraceStep tells a step that only this kind of drain has, after what is told of its addresses.
// Words of the drain's in it are made fit to print.
func TraceStep(ctx context.Context, s Step) {
	if t := traceOf(ctx); t != nil {
		for i := range s.Facts {
			s.Facts[i] = printable(s.Facts[i])
		}
		s.Problem, s.Do = printable(s.Problem), printable(s.Do)
		t.mu.Lock()
		defer t.mu.Unlock()
		if i := slices.IndexFunc(t.own, func(o Step) bool { return o.Name == s.Name && o.Peer != "" && o.Peer == s.Peer }); i >= 0 {
			t.own[i] = s // on a newer connection
			return
		}
		t.own = append(t.own, s)
	}
}

// TraceDoubt says why a record that the drain has accepted may not be where it should be.
func TraceDoubt(ctx context.Context, reason string) {
	if t := traceOf(ctx); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.doubt = &Error{Reason: reason}
	}
}

// traceFailure says that what was done at an address came to nothing.
func traceFailure(ctx context.Context, e *Error) {
	peerOf(ctx).update(func(p *peer) { p.failed = e })
}

// TraceRefusal says what the drain's answer on the connection of ctx means, where it is not the
// answer to a record; nil for a good one.
func TraceRefusal(ctx context.Context, e *Error) { traceFailure(ctx, e) }

// Handshake does the TLS handshake of a connection that was dialled with the ctx of
// [TraceConnection]. It calls the hooks of an [httptrace.ClientTrace] in ctx, as net/http does.
func Handshake(ctx context.Context, conn *tls.Conn) error {
	hooks := httptrace.ContextClientTrace(ctx) // the peer's among them
	if hooks != nil && hooks.TLSHandshakeStart != nil {
		hooks.TLSHandshakeStart()
	}
	err := conn.HandshakeContext(ctx)
	if hooks != nil && hooks.TLSHandshakeDone != nil {
		hooks.TLSHandshakeDone(conn.ConnectionState(), err)
	}
	return err
}

// Encoded says that a batch is encoded and is now written to a drain's address, and Written that
// all of it was handed to the connection. They call the hooks GetConn and WroteRequest of an
// [httptrace.ClientTrace] in ctx, as net/http does: sinks of other protocols call them.
func Encoded(ctx context.Context, address string) {
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.GetConn != nil {
		hooks.GetConn(address)
	}
}

// Written: see [Encoded].
func Written(ctx context.Context) {
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.WroteRequest != nil {
		hooks.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// update changes what is known of a peer, if there is one.
func (p *peer) update(change func(*peer)) {
	if p == nil {
		return
	}
	p.trace.mu.Lock()
	defer p.trace.mu.Unlock()
	change(p)
}

// event is update for what happens on the way to a connection.
func (p *peer) event(change func(*peer)) {
	p.update(func(p *peer) {
		if p.fresh { // what is known of the connection before does not count any more
			p.fresh, p.dns, p.attempts, p.proxyStatus, p.proxyTLS, p.tls = false, nil, nil, 0, nil, nil
			p.asked, p.client, p.authenticated = false, nil, nil
		}
		change(p)
	})
}

func (p *peer) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(info httptrace.DNSStartInfo) {
			p.event(func(p *peer) { p.dns = &lookup{host: info.Host, began: time.Now()} })
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			p.update(func(p *peer) {
				if p.dns == nil {
					return
				}
				p.dns.took, p.dns.done, p.dns.err = time.Since(p.dns.began), true, info.Err
				for _, a := range info.Addrs {
					p.dns.addresses = append(p.dns.addresses, a.String())
				}
			})
		},
		ConnectStart: func(_, address string) {
			p.event(func(p *peer) { p.attempts = append(p.attempts, &attempt{address: address, began: time.Now()}) })
		},
		ConnectDone: func(_, address string, err error) {
			p.update(func(p *peer) {
				for _, a := range p.attempts {
					if a.address == address && !a.done {
						a.took, a.done, a.err = time.Since(a.began), true, err
					}
				}
			})
		},
		TLSHandshakeStart: func() { p.update((*peer).beginTLS) },
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			p.update(func(p *peer) { p.endTLS(state, err) })
		},
	}
}

func (p *peer) beginTLS() {
	if p.via != nil && p.via.Scheme == "https" && p.proxyStatus == 0 {
		p.proxyTLS = &handshake{began: time.Now()}
		return
	}
	p.tls = &handshake{began: time.Now()}
}

func (p *peer) endTLS(state tls.ConnectionState, err error) {
	h := cmp.Or(p.tls, p.proxyTLS)
	if h == nil || h.done {
		return
	}
	h.took, h.done, h.state, h.err = time.Since(h.began), true, state, err
}

// sent is called when the drain has asked for a client certificate, with what it gets.
func (p *peer) sent(certificate *tls.Certificate) {
	p.update(func(p *peer) {
		p.asked = true
		if certificate != nil && len(certificate.Certificate) > 0 {
			p.client = certificate
		}
	})
}

// traced is the request with the hooks of the trace in its context.
func traced(request *http.Request) *http.Request {
	ctx := request.Context()
	port := cmp.Or(request.URL.Port(), map[string]string{"http": "80", "https": "443"}[request.URL.Scheme])
	address := net.JoinHostPort(request.URL.Hostname(), port)
	return request.WithContext(TraceConnection(ctx, address, request.URL.Scheme == "https"))
}

// answered tells the request's trace what became of it.
func answered(ctx context.Context, response *http.Response, err error) {
	p := peerOf(ctx)
	if p == nil {
		return
	}
	if err != nil {
		// Not ctx: the timeout of one request is the drain's failure here, as for its sink.
		traceFailure(ctx, TransportError(context.WithoutCancel(ctx), "reach "+p.name, err))
		return
	}
	p.update(func(p *peer) { p.failed, p.status, p.protocol = nil, response.StatusCode, response.Proto })
}

// Untraced is ctx for requests that are no step on the way to the drain.
func Untraced(ctx context.Context) context.Context { return untraced{ctx} }

type untraced struct{ context.Context }

func (untraced) Value(any) any { return nil }
