package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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
	if t := a.TLS; t != nil {
		certAt, keyAt := at+".tls.cert_file", at+".tls.key_file"
		d.keepPrivate(keyAt, t.KeyFile)
		cert, key := d.checkFile(certAt, t.CertFile), d.checkFile(keyAt, t.KeyFile)
		if d.usable(certAt) && d.usable(keyAt) {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				d.refuse(certAt, "the files %s and %s are not a certificate and its private key in PEM: %v", quote(t.CertFile), quote(t.KeyFile), err)
			}
		}
	}
	if ca := d.checkFile(at+".ca_file", a.CAFile); d.usable(at+".ca_file") && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		d.refuse(at+".ca_file", "the file %s holds no certificate; expected one or more in PEM (-----BEGIN CERTIFICATE-----)", quote(a.CAFile))
	}
	d.notEmpty(at+".hosts", len(a.Hosts))
	for i, host := range a.Hosts {
		if path := fmt.Sprintf("%s.hosts[%d]", at, i); d.usable(path) && !validHost(host) {
			d.refuse(path, "%s is not a host; expected a name such as ttydrain.example.com, or an address, without a port", quote(host))
		}
	}
	total, each := at+".limits.max_connections", at+".limits.max_connections_per_address"
	if a.Limits.MaxConnectionsPerAddress <= a.Limits.MaxConnections || d.given(total) && !d.usable(total) || d.given(each) && !d.usable(each) {
		return
	}
	if d.given(each) {
		d.refuse(each, "is more than max_connections, which is %d; expected at most that", a.Limits.MaxConnections)
		return
	}
	a.Limits.MaxConnectionsPerAddress = a.Limits.MaxConnections // a default
}

// finishSocket checks the path of the admin server's Unix socket, or chooses one in the store.
func (c *Config) finishSocket(d *decoder) {
	a := &c.Admin
	const at = "admin.socket"
	if !d.given(at) {
		// A store with a longer path has no socket: serve warns about it.
		if socket := filepath.Join(c.Store, "admin", "admin.sock"); c.Store != "" && len(socket) <= maxSocketPath {
			a.Socket = socket
		}
		return
	}
	if !d.usable(at) {
		return
	}
	if len(a.Socket) > maxSocketPath {
		d.refuse(at, "%s is longer than %d bytes, the limit for Unix sockets; expected a shorter path", quote(a.Socket), maxSocketPath)
		return
	}
	folder := filepath.Dir(a.Socket)
	info, err := os.Stat(folder)
	switch {
	case err != nil: // it will be created
	case !info.IsDir():
		d.refuse(at, "%s is not a folder; expected the path of a socket in a folder of its own", quote(folder))
	case info.Mode().Perm()&0o077 != 0:
		d.refuse(at, "the folder %s is open to others (mode %04o); expected a folder of its own with mode 0700, or one that does not exist: it is created",
			quote(folder), info.Mode().Perm())
	}
}
