package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is the maximum length of a Unix socket's path in bytes: sun_path of unix(7) has
// 108, including the final NUL.
const maxSocketPath = 107

func (c *Config) finishAdmin(d *decoder) {
	a := &c.Admin
	const at = "admin"
	c.finishSocket(d)
	if a.TLS != nil && a.TLS.None {
		a.TLS, a.PlainHTTP = nil, true
	}
	c.checkAdminExposed(d)
	d.checkToken(at+".token", a.Token)
	a.finishTokens(d)
	if t := a.TLS; t != nil {
		certAt, keyAt := at+".tls.cert_file", at+".tls.key_file"
		d.keepPrivate(keyAt, t.KeyFile)
		cert, key := d.checkFile(certAt, t.CertFile), d.checkFile(keyAt, t.KeyFile)
		if d.usable(certAt) && d.usable(keyAt) {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				d.refuse(codeCertificate, certAt, "the files %s and %s are not a certificate and its private key in PEM: %v", quote(t.CertFile), quote(t.KeyFile), err)
			}
		}
	}
	if ca := d.checkFile(at+".ca_file", a.CAFile); d.usable(at+".ca_file") && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		d.refuse(codeCertificate, at+".ca_file", "the file %s holds no certificate; expected one or more in PEM (-----BEGIN CERTIFICATE-----)", quote(a.CAFile))
	}
	d.notEmpty(at+".hosts", len(a.Hosts))
	for i, host := range a.Hosts {
		if path := fmt.Sprintf("%s.hosts[%d]", at, i); d.usable(path) && !validHost(host) {
			d.refuse(codeAddress, path, "%s is not a host; expected a name such as ttydrain.example.com, or an address, without a port", quote(host))
		}
	}
	total, each := at+".limits.max_connections", at+".limits.max_connections_per_address"
	if a.Limits.MaxConnectionsPerAddress <= a.Limits.MaxConnections || d.given(total) && !d.usable(total) || d.given(each) && !d.usable(each) {
		return
	}
	if d.given(each) {
		d.refuse(codeRange, each, "is more than max_connections, which is %d; expected at most that", a.Limits.MaxConnections)
		return
	}
	a.Limits.MaxConnectionsPerAddress = a.Limits.MaxConnections // a default
}

// checkAdminExposed refuses plain HTTP on an address that other machines reach: the admin token and
// the output of sessions would cross the network in plain text.
func (c *Config) checkAdminExposed(d *decoder) {
	a := &c.Admin
	const at = "admin.listen"
	if !d.usable(at) || a.TLS != nil || d.given("admin.tls") && !d.usable("admin.tls") || OnLoopback(a.Listen) {
		return
	}
	if a.PlainHTTP {
		d.warn(codeAdminOpen, at, "other machines reach it in plain HTTP (tls: none), and the admin token can be read on the network; use it only behind a proxy that adds TLS, or on a network of its own")
		return
	}
	d.refuse(codeAdminOpen, at, "%s is reached by other machines in plain HTTP, and the admin token and the output of sessions could be read on the network; "+
		"expected tls: {cert_file, key_file}, an address of this machine alone such as 127.0.0.1:9464, or tls: none behind a proxy that adds TLS", quote(a.Listen))
}

// OnLoopback reports whether only this machine reaches a listening address.
func OnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

const (
	minTokenLength     = 16
	minTokenCharacters = 6 // different ones
)

// checkToken warns of a token that can be guessed.
func (d *decoder) checkToken(path string, token Secret) {
	if !d.usable(path) {
		return
	}
	different := make(map[rune]bool)
	for _, r := range token.Reveal() {
		different[r] = true
	}
	if n := len(token.Reveal()); n < minTokenLength || len(different) < minTokenCharacters {
		d.warn(codeWeakToken, path, "can be guessed: it has %s, %d of them different; expected 16 or more random ones, such as openssl rand -hex 32 prints", count(n, "character"), len(different))
	}
}

// count returns a number with its noun in singular or plural.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return itoa(n) + " " + noun + "s"
}

// finishSocket checks the path of the admin server's Unix socket, or chooses one in the store.
func (c *Config) finishSocket(d *decoder) {
	a := &c.Admin
	const at = "admin.socket"
	if !d.given(at) {
		// A store with a longer path has no socket: serve warns about it.
		if socket := SocketIn(c.Store); c.Store != "" && len(socket) <= maxSocketPath {
			a.Socket = socket
		}
		return
	}
	if !d.usable(at) {
		return
	}
	if len(a.Socket) > maxSocketPath {
		d.refuse(codeRange, at, "%s is longer than %d bytes, the limit for Unix sockets; expected a shorter path", quote(a.Socket), maxSocketPath)
		return
	}
	folder := filepath.Dir(a.Socket)
	info, err := os.Stat(folder)
	switch {
	case err != nil: // it will be created
	case !info.IsDir():
		d.refuse(codeFile, at, "%s is not a folder; expected the path of a socket in a folder of its own", quote(folder))
	case info.Mode().Perm()&0o077 != 0:
		d.refuse(codeOpenFile, at, "the folder %s is open to others (mode %04o); expected a folder of its own with mode 0700, or one that does not exist: it is created",
			quote(folder), info.Mode().Perm())
	}
}
