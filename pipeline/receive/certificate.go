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

// Names of the certificate files. Drains need ca.pem; the keys are private to the receiver.
const (
	caFile        = authority.CertFile
	serverName    = "server"
	serverFile    = serverName + ".pem"
	serverKeyFile = serverName + ".key"
)

// renewBefore is the remaining validity at which a certificate is renewed. A receiver reads its
// certificate only once, when it starts.
const renewBefore = 7 * 24 * time.Hour

// certificates manages a certificate authority and a server certificate in a folder.
type certificates struct {
	authority.Folder
	names []string // host names and addresses that the server certificate must cover
}

// CreateCertificates creates the certificates of a receiver with these listen addresses in a
// folder, as far as they are missing. [New] does the same; drains can be configured before it is
// called.
func CreateCertificates(dir string, addresses ...string) error {
	_, err := loadCertificate(dir, nil, addresses...)
	return err
}

// loadCertificate returns the certificate of a server with these names and listen addresses.
func loadCertificate(dir string, names []string, addresses ...string) (tls.Certificate, error) {
	names = slices.Clone(names)
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil {
			names = append(names, host)
		}
	}
	c := certificates{Folder: authority.Folder{Dir: dir, Now: time.Now()}, names: certificateNames(names)}
	return c.load()
}

// load returns the server certificate. It creates missing files and replaces certificates that are
// about to expire. A file that cannot be read is an error: it is not overwritten, since an operator
// may have installed it.
func (c *certificates) load() (tls.Certificate, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("create the certificate folder: %w", err)
	}
	ca, err := c.Certificate(caFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if ca == nil || c.expiresSoon(ca) {
		if ca, err = c.Make("ttydrain receive, certificate authority"); err != nil {
			return tls.Certificate{}, fmt.Errorf("create a certificate authority: %w", err)
		}
	}
	server, err := c.readServer(ca)
	if err != nil || server != nil {
		return deref(server), err
	}
	if err := c.Issue(ca, authority.Request{
		Name: serverName, CommonName: "ttydrain receive", Hosts: c.names, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return tls.Certificate{}, fmt.Errorf("create a server certificate: %w", err)
	}
	if server, err = c.readServer(ca); err == nil && server == nil {
		err = fmt.Errorf("%s was just created and is not valid: check the system clock", c.Path(serverFile))
	}
	return deref(server), err
}

func deref(c *tls.Certificate) tls.Certificate {
	if c == nil {
		return tls.Certificate{}
	}
	return *c
}

func (c *certificates) expiresSoon(cert *x509.Certificate) bool {
	return c.Now.Add(renewBefore).After(cert.NotAfter)
}

// readServer returns the server certificate with its key, or nil if a new one must be issued.
func (c *certificates) readServer(ca *x509.Certificate) (*tls.Certificate, error) {
	leaf, err := c.Certificate(serverFile)
	if leaf == nil || err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	options := x509.VerifyOptions{Roots: roots, CurrentTime: c.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf.Verify(options); err != nil || c.expiresSoon(leaf) {
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

// certificateNames returns the names of this machine and the other names, without duplicates.
func certificateNames(others []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && validHost(host) {
		names = append(names, host)
	}
	for _, name := range others {
		if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() || name == "" {
			continue // not a name: the server listens on all addresses
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// validHost reports whether a certificate can name the host: x509 does not match unusual names.
func validHost(host string) bool {
	probe := x509.Certificate{DNSNames: []string{host}}
	return probe.VerifyHostname(host) == nil
}
