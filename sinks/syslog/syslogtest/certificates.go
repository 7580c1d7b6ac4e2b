package syslogtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are files in PEM form: an authority of its own, a server certificate by it for
// localhost and 127.0.0.1, and a client certificate by it.
type Certificates struct {
	CAFile                          string
	ServerCertFile, ServerKeyFile   string
	ClientCertFile, ClientKeyFile   string
	ExpiredCertFile, ExpiredKeyFile string // a client certificate of the day before yesterday
}

// NewCertificates makes certificates in a folder that goes with the test.
func NewCertificates(t testing.TB) Certificates {
	t.Helper()
	dir := t.TempDir()
	now := time.Now()
	from, to := now.Add(-time.Hour), now.Add(24*time.Hour)

	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "syslogtest authority"}, NotBefore: now.Add(-72 * time.Hour), NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	issue := func(name string, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (certFile, keyFile string) {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatalf("make certificate %s: %v", name, err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatalf("make key %s: %v", name, err)
		}
		return writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der), writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", keyDER)
	}
	leaf := func(name string, serial int64, from, to time.Time, usage x509.ExtKeyUsage) (certFile, keyFile string) {
		return issue(name, &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}, ca, newKey(t), key)
	}
	var c Certificates
	c.CAFile, _ = issue("authority", ca, ca, key, key)
	c.ServerCertFile, c.ServerKeyFile = leaf("server", 2, from, to, x509.ExtKeyUsageServerAuth)
	c.ClientCertFile, c.ClientKeyFile = leaf("client", 3, from, to, x509.ExtKeyUsageClientAuth)
	c.ExpiredCertFile, c.ExpiredKeyFile = leaf("expired", 4, now.Add(-48*time.Hour), now.Add(-24*time.Hour), x509.ExtKeyUsageClientAuth)
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return key
}

func writePEM(t testing.TB, file, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
