package sinks

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// A Proxy is the proxy of a drain over HTTP. The zero value is the proxy of the environment
// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), if any.
type Proxy struct {
	// None disables the proxy of the environment.
	None bool
	// URL is the proxy's: http, https, socks5 or socks5h, perhaps with a user and a password. It is
	// a secret.
	URL string
	// CAFile holds the only authorities to trust in the proxy's own certificate, in PEM form; ""
	// for the system's.
	CAFile string
}

// A route is a parsed [Proxy].
type route struct {
	none  bool
	fixed *url.URL       // or nil for the environment's
	roots *x509.CertPool // of the proxy's certificate; nil for the system's
}

func (p Proxy) route() (route, error) {
	r := route{none: p.None}
	if p.None || p.URL == "" {
		return r, nil
	}
	var err error
	if r.fixed, err = url.Parse(p.URL); err != nil || r.fixed.Hostname() == "" {
		return r, RefuseSetting("proxy.url", "is not a URL; expected one such as http://proxy.example.com:3128")
	}
	if p.CAFile != "" {
		if r.roots, err = readPool(p.CAFile); err != nil {
			return r, SettingsWithin("proxy", err)
		}
	}
	return r, nil
}

// of returns the proxy of a request, or nil for none.
func (r *route) of(request *http.Request) (*url.URL, error) {
	switch {
	case r.none:
		return nil, nil
	case r.fixed != nil:
		return r.fixed, nil
	}
	return http.ProxyFromEnvironment(request)
}

// proxyOf returns the proxy of a request to [http.Transport], and reports it to connectivity
// checks.
func (r *Transport) proxyOf(request *http.Request) (*url.URL, error) {
	via, err := r.route.of(request)
	if err != nil || via == nil {
		return via, err
	}
	if via.Scheme == "https" {
		r.openMu.Lock()
		r.proxies[hostPort(via)] = true
		r.openMu.Unlock()
	}
	probe.From(request.Context()).Report(probe.ViaProxy{URL: via, Configured: r.route.fixed != nil})
	return via, nil
}

// hostPort returns the address of a URL with http or https.
func hostPort(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return net.JoinHostPort(u.Hostname(), port)
}

// isProxy reports whether an address that is dialled for TLS is that of a proxy.
func (r *Transport) isProxy(address string) bool {
	r.openMu.Lock()
	defer r.openMu.Unlock()
	return r.proxies[address]
}

// dialProxy connects to a proxy that speaks TLS. It uses none of the drain's own TLS settings:
// neither the name, the authorities and the fingerprint, nor the client certificate.
func (r *Transport) dialProxy(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := r.handshake(ctx, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.route.roots}, network, address)
	if err != nil {
		return nil, &proxyTLSError{err}
	}
	return conn, nil
}

// A proxyTLSError is the reason why no connection to a proxy over TLS could be made.
type proxyTLSError struct{ error }

func (e *proxyTLSError) Unwrap() error { return e.error }

func (e *proxyTLSError) verdict(doing string) *Error {
	v := &Error{Verdict: Misconfigured, Err: quotable(e.error)}
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		any       *tls.CertificateVerificationError
	)
	switch {
	case errors.As(e.error, &host):
		v.Reason, v.Advice = doing+": the proxy's certificate is for another host name", "set the proxy's URL to a name that the certificate has"
	case errors.As(e.error, &authority):
		v.Reason, v.Advice = doing+": the proxy's certificate is signed by an authority that is not trusted", "set ca_file of proxy to the PEM file with that authority"
	case errors.As(e.error, &any):
		v.Reason, v.Advice = doing+": the proxy's certificate cannot be verified", "replace it, or set ca_file of proxy"
	case isTLSFailure(e.error):
		v.Reason, v.Advice = doing+": the TLS handshake with the proxy failed", "correct the proxy's URL, or its TLS settings"
	default:
		v.Verdict = Retry
		v.Reason, v.Advice = doing+": the proxy cannot be reached", "start it, or correct its URL"
	}
	return v
}

// A proxyError is a response of a proxy to CONNECT other than 200.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return "the proxy answered " + strconv.Itoa(e.status)
}

func (e *proxyError) verdict(doing string) *Error {
	v := &Error{Verdict: Misconfigured, Err: e}
	switch e.status {
	case http.StatusProxyAuthRequired, http.StatusUnauthorized:
		v.Reason, v.Advice = doing+": the proxy refuses the credentials", "correct the user and password in HTTPS_PROXY, or in proxy"
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		v.Reason, v.Advice = doing+": the proxy does not permit this drain", "permit it there, set proxy to none, or add its host to NO_PROXY"
	default:
		v.Verdict = Retry
		v.Reason, v.Advice = doing+": the proxy has no connection to the drain", "look into the proxy's log, set proxy to none, or add the drain's host to NO_PROXY"
	}
	return v
}
