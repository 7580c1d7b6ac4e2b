// Package endpoint reaches the admin server of a running ttydrain: by its Unix socket, by HTTP on
// the same machine, or by HTTPS. The admin token never goes to another machine without TLS, and to
// no address that an answer redirects to.
package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// An Endpoint is the address of an admin server, and a client for it.
type Endpoint struct {
	URL    string // without a path
	Client *http.Client
	Name   string // as people write it
}

const (
	dialTimeout = 10 * time.Second
	unixPrefix  = "unix:"
)

var errRedirect = errors.New("the address redirects, which is not followed: name the one that it leads to")

// Parse returns the endpoint at HOST:PORT, at an http or https URL without a path, or at unix:PATH.
// caFile has the authorities to trust in place of the system's; "" for these. Plain HTTP to another
// machine is refused.
func Parse(address, caFile string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if path == "" {
			return Endpoint{}, fmt.Errorf("admin address %q: has no path: expected one such as unix:./data/admin/admin.sock", address)
		}
		return overSocket(path, ""), nil
	}
	given := address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return Endpoint{}, fmt.Errorf("admin address %q: expected HOST:PORT, https://HOST:PORT or unix:PATH", given)
	}
	client, err := NewClient(u, caFile)
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{URL: u.Scheme + "://" + u.Host, Client: client, Name: given}, nil
}

// NewClient returns a client for a URL, which follows no redirect. Plain HTTP to another machine is
// refused.
func NewClient(u *url.URL, caFile string) (*http.Client, error) {
	transport := &http.Transport{TLSHandshakeTimeout: dialTimeout, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext}
	if u.Scheme == "https" {
		config, err := trusting(caFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig, transport.Proxy = config, http.ProxyFromEnvironment
		return clientOf(transport), nil
	}
	if !isLocal(u.Hostname()) {
		return nil, fmt.Errorf("admin address %s: plain HTTP to another machine is refused, since others could read the token on its way: "+
			"expected https:// (admin.tls on the server), or an address of this machine such as 127.0.0.1", u.Host)
	}
	// A name that leads elsewhere is refused when it is resolved. There is no proxy: it would get the
	// token.
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: onlyLoopback}).DialContext
	return clientOf(transport), nil
}

// maxRefusal bounds how much is read of an answer that refuses, in bytes.
const maxRefusal = 1 << 20

// Refusal returns the reason in an answer whose status is not 200: {"error": TEXT} of the API, or
// the text of another part of the server.
func Refusal(r *http.Response) string {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxRefusal))
	var refused struct{ Error string }
	if err == nil && json.Unmarshal(data, &refused) == nil && refused.Error != "" {
		return refused.Error
	}
	if text := strings.TrimSpace(string(data)); err == nil && text != "" && len(text) < 300 {
		return r.Status + ": " + text
	}
	return r.Status
}

// Local returns the endpoint of the admin server that runs on this machine: its Unix socket or,
// where nothing answers there, its address, if that can be reached by plain HTTP on this machine.
func Local(socket, listen string, encrypted bool) (Endpoint, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return Endpoint{}, fmt.Errorf("admin.listen: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // where a server listens on all addresses
		if ip.Is6() {
			host = "::1"
		}
	}
	address := ""
	if !encrypted && isLocal(host) {
		address = net.JoinHostPort(host, port)
	}
	switch {
	case socket != "":
		return overSocket(socket, address), nil
	case address == "":
		return Endpoint{}, errors.New("admin.listen is not an address of this machine without TLS: name it with --admin https://HOST:PORT, or set admin.socket")
	}
	return Parse(address, "")
}

// overSocket returns an endpoint by a Unix socket or, where nothing answers there, by an address of
// this machine; "" for none.
func overSocket(path, otherwise string) Endpoint {
	unix := &net.Dialer{Timeout: dialTimeout}
	tcp := &net.Dialer{Timeout: dialTimeout, Control: onlyLoopback}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := unix.DialContext(ctx, "unix", path)
		if err == nil || otherwise == "" {
			return c, err
		}
		c, tcpErr := tcp.DialContext(ctx, "tcp", otherwise)
		if tcpErr != nil {
			return nil, errors.Join(err, tcpErr)
		}
		return c, nil
	}}
	return Endpoint{URL: "http://localhost", Client: clientOf(transport), Name: unixPrefix + path}
}

func clientOf(transport *http.Transport) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect }}
}

// trusting returns the client's side of TLS.
func trusting(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of the admin server: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read the authorities of the admin server: %s holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", caFile)
	}
	return config, nil
}

// isLocal reports whether a host is this machine by its name or address.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && isOwn(ip)
}

// isOwn reports whether connections to an address stay on this machine; those to an unspecified one
// do.
func isOwn(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return ip.IsLoopback() || ip.IsUnspecified()
}

// onlyLoopback is a Control function of [net.Dialer] that refuses other machines.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !isOwn(at.Addr()) {
		return fmt.Errorf("plain HTTP to another machine is refused: %s", address)
	}
	return nil
}
