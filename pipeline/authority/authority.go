// Package authority keeps a certificate authority, and certificates that it has signed, as PEM
// files in a folder: for receivers on a developer's machine, and for clusters of those who have no
// authority of their own.
//
// Keys are ECDSA on P-256, in PKCS #8 form. There is no revocation, and nothing is renewed by
// itself.
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

// Files of the authority.
const (
	CertFile = "ca.pem"
	KeyFile  = "ca.key"
)

// How long an authority is good, and a certificate that it signs, which ends with it at the latest.
const (
	CAValidity = 10 * 365 * 24 * time.Hour
	Validity   = 365 * 24 * time.Hour
)

// clockSkew is how much the clock of somebody who verifies may be behind.
const clockSkew = time.Hour

// A Folder is where the files are.
type Folder struct {
	Dir string
	Now time.Time // from which on what is made is good
}

// A Request says what a certificate is for.
type Request struct {
	// Name begins the names of its two files, NAME.pem and NAME.key.
	Name       string
	CommonName string
	// Hosts are the names and addresses of a server.
	Hosts []string
	Usage []x509.ExtKeyUsage
}

// Path is that of a file in the folder.
func (f Folder) Path(name string) string { return filepath.Join(f.Dir, name) }

// Certificate reads a certificate; nil when there is no such file.
func (f Folder) Certificate(name string) (*x509.Certificate, error) {
	block, err := f.readPEM(name, "CERTIFICATE")
	if block == nil || err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; remove it to have a new one made", f.Path(name), err)
	}
	return cert, nil
}

// Key reads a private key; nil when there is no such file.
func (f Folder) Key(name string) (*ecdsa.PrivateKey, error) {
	block, err := f.readPEM(name, "PRIVATE KEY")
	if block == nil || err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: it must be a PKCS #8 key; remove it to have a new one made", f.Path(name))
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: it must be an ECDSA key; remove it to have a new one made", f.Path(name))
	}
	return key, nil
}

// readPEM reads the first block of a file; nil when there is no such file.
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
		return nil, fmt.Errorf("read %s: it must begin with a PEM block of type %s; remove it to have a new one made", f.Path(name), kind)
	}
	return block.Bytes, nil
}

// Make makes a new authority in the place of the one that is there.
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
	// The key first: an authority without its key could not be told from one that somebody put there.
	if err := f.writeKey(KeyFile, key); err != nil {
		return nil, err
	}
	if err := f.write(CertFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issue makes a key and a certificate that the authority signs, in the place of those that are
// there.
func (f Folder) Issue(ca *x509.Certificate, r Request) error {
	caKey, err := f.Key(KeyFile)
	if err != nil {
		return err
	}
	if caKey == nil {
		return fmt.Errorf("%s is missing: give a valid %s.pem and %s.key, or remove %s to have a new authority made",
			f.Path(KeyFile), f.Path(r.Name), f.Path(r.Name), f.Path(CertFile))
	}
	if !caKey.PublicKey.Equal(ca.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: remove both to have a new authority made", f.Path(KeyFile), f.Path(CertFile))
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

// write replaces a file as a whole.
func (f Folder) write(name, kind string, der []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(f.Dir, name+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // in vain after the renaming
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
