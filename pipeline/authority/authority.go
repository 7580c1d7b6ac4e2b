// Package authority keeps a certificate authority and the certificates that it signs as PEM files
// in a folder. It serves receivers on a developer's machine, and clusters without an authority of
// their own.
//
// Keys are ECDSA on P-256, in PKCS #8 form. The package does not revoke certificates and renews
// none on its own.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"time"
)

// Names of the authority's files.
const (
	CertFile = "ca.pem"
	KeyFile  = "ca.key"
)

// Validity periods of the authority and of the certificates that it signs. A certificate never
// outlives its authority.
const (
	CAValidity = 10 * 365 * 24 * time.Hour
	Validity   = 365 * 24 * time.Hour
)

// clockSkew is the clock difference that verifiers may have: certificates start to be valid this
// long before their creation.
const clockSkew = time.Hour

// Folder is the folder that holds the authority's files.
type Folder struct {
	Dir string
	Now time.Time // start of the validity of new certificates
}

// Request describes a certificate to issue.
type Request struct {
	// Name is the base name of the certificate's files, NAME.pem and NAME.key.
	Name       string
	CommonName string
	// Hosts are the host names and IP addresses of a server.
	Hosts []string
	Usage []x509.ExtKeyUsage
}

// Path returns the path of a file in the folder.
func (f Folder) Path(name string) string { return filepath.Join(f.Dir, name) }

// Certificate reads a certificate. It returns nil if the file does not exist.
func (f Folder) Certificate(name string) (*x509.Certificate, error) {
	block, err := f.readPEM(name, "CERTIFICATE")
	if block == nil || err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; remove it to create a new one", f.Path(name), err)
	}
	return cert, nil
}

// Key reads a private key. It returns nil if the file does not exist.
func (f Folder) Key(name string) (*ecdsa.PrivateKey, error) {
	block, err := f.readPEM(name, "PRIVATE KEY")
	if block == nil || err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: it must be a PKCS #8 key; remove it to create a new one", f.Path(name))
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: it must be an ECDSA key; remove it to create a new one", f.Path(name))
	}
	return key, nil
}

// readPEM returns the content of the first PEM block of a file, or nil if the file does not exist.
func (f Folder) readPEM(name, kind string) ([]byte, error) {
	data, err := os.ReadFile(f.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a certificate or its key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read %s: it must begin with a PEM block of type %s; remove it to create a new one", f.Path(name), kind)
	}
	return block.Bytes, nil
}

// Make creates an authority and replaces the existing one.
func (f Folder) Make(commonName string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             f.Now.Add(-clockSkew),
		NotAfter:              f.Now.Add(CAValidity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	// The key comes first: an authority without a key looks like one that an operator has installed.
	if err := f.writeKey(KeyFile, key); err != nil {
		return nil, err
	}
	if err := f.write(CertFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issue creates a key and a certificate signed by the authority, and replaces the existing ones.
func (f Folder) Issue(ca *x509.Certificate, r Request) error {
	caKey, err := f.Key(KeyFile)
	if err != nil {
		return err
	}
	if caKey == nil {
		return fmt.Errorf("%s is missing: provide a valid %s.pem and %s.key, or remove %s to create a new authority",
			f.Path(KeyFile), f.Path(r.Name), f.Path(r.Name), f.Path(CertFile))
	}
	if !caKey.PublicKey.Equal(ca.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: remove both to create a new authority", f.Path(KeyFile), f.Path(CertFile))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	notAfter := f.Now.Add(Validity)
	if notAfter.After(ca.NotAfter) {
		notAfter = ca.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: r.CommonName},
		NotBefore:    f.Now.Add(-clockSkew),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  r.Usage,
	}
	for _, name := range r.Hosts {
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
	if err := f.writeKey(r.Name+".key", key); err != nil {
		return err
	}
	return f.write(r.Name+".pem", "CERTIFICATE", der, 0o644)
}

func (f Folder) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return f.write(name, "PRIVATE KEY", der, 0o600)
}

// write replaces a file atomically.
func (f Folder) write(name, kind string, der []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(f.Dir, name+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails after the rename
	err = pem.Encode(file, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = file.Chmod(mode)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), f.Path(name))
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f    // positive
	return new(big.Int).SetBytes(b[:])
}
