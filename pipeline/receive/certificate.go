package receive

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Files of the certificates. Drains need ca.pem; the keys are for their owner alone.
const (
	caFile        = "ca.pem"
	caKeyFile     = "ca.key"
	serverFile    = "server.pem"
	serverKeyFile = "server.key"
)

const (
	caValidity     = 10 * 365 * 24 * time.Hour
	serverValidity = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is renewed: a receiver reads its own once.
	renewBefore = 7 * 24 * time.Hour
	// clockSkew is how much a client's clock may be behind.
	clockSkew = time.Hour
)

// certificates keeps a certificate authority and a server certificate in a folder.
type certificates struct {
	dir   string
	names []string // host names and addresses that the server certificate must be for
	now   time.Time
}

// load reads the server certificate. What is missing is made; what is at its end is made anew. A file
// that cannot be read is an error: it is not overwritten, since somebody may have put it there.
func (c *certificates) load() (tls.Certificate, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("make the folder of the certificates: %w", err)
	}
	ca, err := c.readCertificate(caFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if ca == nil || c.ends(ca) {
		if ca, err = c.makeCA(); err != nil {
			return tls.Certificate{}, fmt.Errorf("make a certificate authority: %w", err)
		}
	}
	server, err := c.readServer(ca)
	if err != nil || server != nil {
		return deref(server), err
	}
	if err := c.makeServer(ca); err != nil {
		return tls.Certificate{}, fmt.Errorf("make a server certificate: %w", err)
	}
	if server, err = c.readServer(ca); err == nil && server == nil {
		err = fmt.Errorf("%s was just made and is not valid: is the clock right?", c.path(serverFile))
	}
	return deref(server), err
}

func deref(c *tls.Certificate) tls.Certificate {
	if c == nil {
		return tls.Certificate{}
	}
	return *c
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

func (c *certificates) ends(cert *x509.Certificate) bool {
	return c.now.Add(renewBefore).After(cert.NotAfter)
}

// readCertificate reads a certificate; nil when there is no such file.
func (c *certificates) readCertificate(name string) (*x509.Certificate, error) {
	block, err := c.readPEM(name, "CERTIFICATE")
	if block == nil || err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; remove it to have a new one made", c.path(name), err)
	}
	return cert, nil
}

// readPEM reads the first block of a file; nil when there is no such file.
func (c *certificates) readPEM(name, kind string) ([]byte, error) {
	data, err := os.ReadFile(c.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a certificate or its key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read %s: it must begin with a PEM block of type %s; remove it to have a new one made", c.path(name), kind)
	}
	return block.Bytes, nil
}

// readServer reads the server certificate with its key; nil when it must be made.
func (c *certificates) readServer(ca *x509.Certificate) (*tls.Certificate, error) {
	leaf, err := c.readCertificate(serverFile)
	if leaf == nil || err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	options := x509.VerifyOptions{Roots: roots, CurrentTime: c.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf.Verify(options); err != nil || c.ends(leaf) {
		return nil, nil
	}
	for _, name := range c.names {
		if leaf.VerifyHostname(name) != nil {
			return nil, nil
		}
	}
	key, err := c.readPEM(serverKeyFile, "PRIVATE KEY")
	if key == nil || err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read %s: it must be a PKCS #8 key; remove it to have a new one made", c.path(serverKeyFile))
	}
	if ec, ok := private.(*ecdsa.PrivateKey); !ok || !ec.PublicKey.Equal(leaf.PublicKey) {
		return nil, nil
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}, nil
}

func (c *certificates) makeCA() (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "ttydrain receive, certificate authority"},
		NotBefore:             c.now.Add(-clockSkew),
		NotAfter:              c.now.Add(caValidity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	// The key first: an authority without its key could not be told from one that somebody put there.
	if err := c.writeKey(caKeyFile, key); err != nil {
		return nil, err
	}
	if err := c.write(caFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (c *certificates) makeServer(ca *x509.Certificate) error {
	block, err := c.readPEM(caKeyFile, "PRIVATE KEY")
	if err != nil {
		return err
	}
	if block == nil {
		return fmt.Errorf("%s is missing: give a valid %s and %s, or remove %s to have a new authority made",
			c.path(caKeyFile), serverFile, serverKeyFile, c.path(caFile))
	}
	caKey, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return fmt.Errorf("read %s: it must be a PKCS #8 key", c.path(caKeyFile))
	}
	if ec, ok := caKey.(*ecdsa.PrivateKey); !ok || !ec.PublicKey.Equal(ca.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: remove both to have a new authority made", c.path(caKeyFile), c.path(caFile))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	notAfter := c.now.Add(serverValidity)
	if notAfter.After(ca.NotAfter) {
		notAfter = ca.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "ttydrain receive"},
		NotBefore:    c.now.Add(-clockSkew),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range c.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := c.writeKey(serverKeyFile, key); err != nil {
		return err
	}
	return c.write(serverFile, "CERTIFICATE", der, 0o644)
}

func (c *certificates) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return c.write(name, "PRIVATE KEY", der, 0o600)
}

// write replaces a file as a whole.
func (c *certificates) write(name, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(c.dir, name+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // in vain after the renaming
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path(name))
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f    // positive
	return new(big.Int).SetBytes(b[:])
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
