package probe

import (
	"cmp"
	"crypto/tls"
	"net/http/httptrace"
	"net/url"
	"time"
)

// A peer is one address of the drain. Its fields describe the newest connection to it.
type peer struct {
	recorder *Recorder // its mu guards the fields
	name     string    // host:port
	secure   bool      // TLS is expected
	fresh    bool      // the next event is the first one of a new connection

	via         *url.URL // the proxy, or nil
	viaSet      bool     // via is a setting, and not the environment's
	proxyStatus int      // of its response to CONNECT, or 0

	dns      *lookup    // nil where there was no name to look up, or nothing was tried
	attempts []*attempt // to connect, the oldest first
	proxyTLS *handshake // with a proxy that speaks TLS, or nil
	tls      *handshake // with the drain, or nil

	asked  bool             // for a client certificate
	client *tls.Certificate // the one that was sent; nil for none

	answer        StatusLine // of the newest HTTP response, or zero
	authenticated []string   // facts on the authentication
	failed        *Failure   // of the newest request, or nil
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

// update changes the peer.
func (p *peer) update(change func()) {
	p.recorder.mu.Lock()
	defer p.recorder.mu.Unlock()
	change()
}

// begin is update for an event that can be the first one of a new connection.
func (p *peer) begin(change func()) {
	p.update(func() {
		if p.fresh {
			p.fresh, p.dns, p.attempts, p.proxyStatus, p.proxyTLS, p.tls = false, nil, nil, 0, nil, nil
			p.asked, p.client, p.authenticated = false, nil, nil
		}
		change()
	})
}

func (p *peer) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(info httptrace.DNSStartInfo) {
			p.begin(func() { p.dns = &lookup{host: info.Host, began: time.Now()} })
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			p.update(func() {
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
			p.begin(func() { p.attempts = append(p.attempts, &attempt{address: address, began: time.Now()}) })
		},
		ConnectDone: func(_, address string, err error) {
			p.update(func() {
				for _, a := range p.attempts {
					if a.address == address && !a.done {
						a.took, a.done, a.err = time.Since(a.began), true, err
					}
				}
			})
		},
		TLSHandshakeStart: func() { p.update(p.beginTLS) },
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			p.update(func() { p.endTLS(state, err) })
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
