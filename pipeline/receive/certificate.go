package receive

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/authority"
)

// Files of the certificates. Drains need ca.pem; the keys are for their owner alone.
const (
	caFile        = authority.CertFile
	serverName    = "server"
	serverFile    = serverName + ".pem"
	serverKeyFile = serverName + ".key"
)

// renewBefore is how long before its end a certificate is renewed: a receiver reads its own once.
const renewBefore = 7 * 24 * time.Hour

// certificates keeps a certificate authority and a server certificate in a folder.
type certificates struct {
	authority.Folder
	names []string // host names and addresses that the server certificate must be for
}

// load reads the server certificate. What is missing is made; what is at its end is made anew. A
// file that cannot be read is an error: it is not overwritten, since somebody may have put it
// there.
func (c *certificates) load() (tls.Certificate, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("make the folder of the certificates: %w", err)
	}
	ca, err := c.Certificate(caFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if ca == nil || c.ends(ca) {
		if ca, err = c.Make("ttydrain receive, certificate authority"); err != nil {
			return tls.Certificate{}, fmt.Errorf("make a certificate authority: %w", err)
		}
	}
	server, err := c.readServer(ca)
	if err != nil || server != nil {
		return deref(server), err
	}
	if err := c.Issue(ca, authority.Request{
		Name: serverName, CommonName: "ttydrain receive", Hosts: c.names, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return tls.Certificate{}, fmt.Errorf("make a server certificate: %w", err)
	}
	if server, err = c.readServer(ca); err == nil && server == nil {
		err = fmt.Errorf("%s was just made and is not valid: is the clock right?", c.Path(serverFile))
	}
	return deref(server), err
}

func deref(c *tls.Certificate) tls.Certificate {
	if c == nil {
		return tls.Certificate{}
	}
	return *c
}

func (c *certificates) ends(cert *x509.Certificate) bool {
	return c.Now.Add(renewBefore).After(cert.NotAfter)
}

// readServer reads the server certificate with its key; nil when it must be made.
func (c *certificates) readServer(ca *x509.Certificate) (*tls.Certificate, error) {
	leaf, err := c.Certificate(serverFile)
	if leaf == nil || err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	options := x509.VerifyOptions{Roots: roots, CurrentTime: c.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf.Verify(options); err != nil || c.ends(leaf) {
		return nil, nil
	}
	for _, name := range c.names {
		if leaf.VerifyHostname(name) != nil {
			return nil, nil
		}
	}
	key, err := c.Key(serverKeyFile)
	if key == nil || err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, nil
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// certificateNames are this machine's names for itself, and the others.
func certificateNames(others []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && validHost(host) {
		names = append(names, host)
	}
	for _, name := range others {
		if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() || name == "" {
			continue // listens on every address
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// validHost says whether a certificate can name the host: x509 does not match odd names.
func validHost(host string) bool {
	probe := x509.Certificate{DNSNames: []string{host}}
	return probe.VerifyHostname(host) == nil
}
