package sinks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// TLS holds the TLS settings of a sink. The zero value trusts the system's authorities, has no
// client certificate, and expects the certificate to be for the host of the drain's address.
// Verification cannot be turned off: a fingerprint is another way to verify.
type TLS struct {
	// CAFile holds the only authorities to trust, in PEM form; "" for the system's.
	CAFile string
	// CertFile and KeyFile hold the client certificate (with its chain) and its key, in PEM form.
	// Both or neither are set.
	CertFile, KeyFile string
	// ServerName is the name that the drain's certificate must be for, if that is not the host of
	// its address.
	ServerName string
	// FingerprintSHA256 is that of the drain's certificate in DER, in hexadecimal digits with or
	// without colons, or several of these with commas between. The drain must have this
	// certificate, and neither its authority nor its names count. It replaces CAFile.
	FingerprintSHA256 string
}

// Config reads the files and makes a configuration for connections: TLS 1.2 or later, the drain's
// certificate verified. An error names the file that is wrong, and what to do.
//
// The client certificate is read anew for every handshake, so a rotated one is used from the next
// connection on. The authorities are read once: sinks that dial call Config for each connection,
// and over HTTP [TLS.Transport] notices when the file changes.
//
// Where ServerName is "", the user of the configuration sets it to the host that it dials, as
// net/http and [tls.Dialer] do by themselves. GetClientCertificate is never nil.
func (t TLS) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		probe.From(info.Context()).Report(probe.ClientCertificate{})
		return new(tls.Certificate), nil // none
	}
	if t.CAFile != "" {
		pool, err := readPool(t.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	if t.FingerprintSHA256 != "" {
		if t.CAFile != "" {
			return nil, RefuseSetting("fingerprint_sha256", "is set together with ca_file, which it replaces; expected only one of them")
		}
		pins, err := parseFingerprints(t.FingerprintSHA256)
		if err != nil {
			return nil, err
		}
		config.InsecureSkipVerify = true // what verifies is verifyPinned, for resumed sessions too
		config.VerifyConnection = func(state tls.ConnectionState) error { return verifyPinned(pins, state) }
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
	case t.KeyFile == "":
		return nil, RefuseSetting("cert_file", "is set without key_file; expected both or neither")
	case t.CertFile == "":
		return nil, RefuseSetting("key_file", "is set without cert_file; expected both or neither")
	default:
		c := &clientCertificate{certFile: t.CertFile, keyFile: t.KeyFile}
		if _, err := c.read(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = c.get
	}
	return config, nil
}

func readPool(file string) (*x509.CertPool, error) {
	data, err := readFile("ca_file", file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, RefuseSetting("ca_file", "%s holds no certificate; expected one or more in PEM (-----BEGIN CERTIFICATE-----)", file)
	}
	return pool, nil
}

// readFile reads the file that a setting names.
func readFile(setting, file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &SettingError{Setting: setting, Problem: file + " does not exist: create it, or correct the path", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &SettingError{Setting: setting, Problem: file + " may not be read by the user that ttydrain runs as: change its permissions", Err: err}
	default:
		return nil, &SettingError{Setting: setting, Problem: fmt.Sprintf("%s cannot be read: %v", file, err), Err: err}
	}
}

// clientCertificate is a client certificate that can be replaced on disk at any time.
type clientCertificate struct {
	certFile, keyFile string

	mu   sync.Mutex       // guards good
	good *tls.Certificate // the last pair that fitted together
}

// get implements GetClientCertificate of a tls.Config. While the two files are being replaced, one
// after the other, they do not match: the previous pair is used once more.
func (c *clientCertificate) get(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	certificate, err := c.read()
	if err != nil {
		c.mu.Lock()
		certificate = c.good
		c.mu.Unlock()
	}
	probe.From(info.Context()).Report(probe.ClientCertificate{Sent: certificate})
	return certificate, nil
}

func (c *clientCertificate) read() (*tls.Certificate, error) {
	cert, err := readFile("cert_file", c.certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile("key_file", c.keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &SettingError{Setting: "cert_file", Err: err,
			Problem: fmt.Sprintf("%s and key_file %s are not a certificate and its unencrypted private key in PEM: %v", c.certFile, c.keyFile, err)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.good = &pair
	return &pair, nil
}
