// Package endpoint connects to the admin server of a running ttydrain: over its Unix socket, by
// HTTP on the same machine, or by HTTPS. The admin token is never sent to another machine without
// TLS, nor to the target of a redirect.
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

// Endpoint is the address of an admin server with a client for it.
type Endpoint struct {
	URL    string // without a path
	Client *http.Client
	Name   string // as the user wrote it
}

const (
	dialTimeout = 10 * time.Second
	unixPrefix  = "unix:"
)

var errRedirect = errors.New("the address redirects, which is not followed: use the target's address")

// Parse returns the endpoint for HOST:PORT, an http or https URL without a path, or unix:PATH.
// caFile has the trusted authorities; "" for those of the system. Plain HTTP to another machine is
// refused.
func Parse(address, caFile string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if path == "" {
			return Endpoint{}, fmt.Errorf("admin address %q: missing path: expected a path such as unix:./data/admin/admin.sock", address)
		}
		return overSocket(path, ""), nil
	}
	original := address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return Endpoint{}, fmt.Errorf("admin address %q: expected HOST:PORT, https://HOST:PORT or unix:PATH", original)
	}
	client, err := NewClient(u, caFile)
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{URL: u.Scheme + "://" + u.Host, Client: client, Name: original}, nil
}

// NewClient returns a client for a URL that does not follow redirects. Plain HTTP to another
// machine is refused.
func NewClient(u *url.URL, caFile string) (*http.Client, error) {
	transport := &http.Transport{TLSHandshakeTimeout: dialTimeout, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext}
	if u.Scheme == "https" {
		config, err := tlsConfig(caFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig, transport.Proxy = config, http.ProxyFromEnvironment
		return clientOf(transport), nil
	}
	if !isLocal(u.Hostname()) {
		return nil, fmt.Errorf("admin address %s: plain HTTP to another machine is refused, since it would expose the token: "+
			"expected https:// (admin.tls on the server), or an address of this machine such as 127.0.0.1", u.Host)
	}
	// onlyLoopback checks the resolved address of a name. No proxy is used, since it would receive
	// the token.
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: onlyLoopback}).DialContext
	return clientOf(transport), nil
}

// maxRefusal bounds how much of an error response is read, in bytes.
const maxRefusal = 1 << 20

// Refusal returns the reason in a response with another status than 200: {"error": TEXT} of the
// API, or the text of another handler.
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

// Local returns the endpoint of the admin server on this machine: its Unix socket or, if it does
// not respond, its address, provided that this machine can reach it by plain HTTP.
func Local(socket, listen string, encrypted bool) (Endpoint, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return Endpoint{}, fmt.Errorf("admin.listen: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // the server listens on all addresses
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
		return Endpoint{}, errors.New("admin.listen cannot be reached on this machine without TLS: use --admin https://HOST:PORT, or set admin.socket")
	}
	return Parse(address, "")
}

// overSocket returns an endpoint for a Unix socket with an optional fallback address on this
// machine.
func overSocket(path, fallback string) Endpoint {
	unix := &net.Dialer{Timeout: dialTimeout}
	tcp := &net.Dialer{Timeout: dialTimeout, Control: onlyLoopback}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := unix.DialContext(ctx, "unix", path)
		if err == nil || fallback == "" {
			return c, err
		}
		c, tcpErr := tcp.DialContext(ctx, "tcp", fallback)
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

// tlsConfig returns the client's TLS configuration.
func tlsConfig(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file of the admin server: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read the CA file of the admin server: %s contains no PEM certificate (-----BEGIN CERTIFICATE-----)", caFile)
	}
	return config, nil
}

// isLocal reports whether a host name or address is this machine.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && isOwn(ip)
}

// isOwn reports whether connections to an address stay on this machine, which includes the
// unspecified address.
func isOwn(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return ip.IsLoopback() || ip.IsUnspecified()
}

// onlyLoopback is a Control function for [net.Dialer] that refuses other machines.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !isOwn(at.Addr()) {
		return fmt.Errorf("plain HTTP to another machine is refused: %s", address)
	}
	return nil
}
