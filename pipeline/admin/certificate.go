package admin

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is the server's certificate with its key. It is reloaded when its files change, so
// that new connections use a renewed certificate.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu   sync.Mutex // guards the fields below
	pair *tls.Certificate
	seen [2]stamp // the files at the last attempt to load them, even if it failed
}

// stamp identifies a version of a file.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate loads a certificate chain and its key from PEM files.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, seen: stamps(certFile, keyFile)}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("admin.tls: read the certificate: %w", err)
	}
	c.pair = &pair
	return c, nil
}

func stamps(files ...string) (seen [2]stamp) {
	for i, file := range files {
		info, err := os.Stat(file)
		if err == nil {
			seen[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return seen
}

// config returns the TLS configuration: TLS 1.2 or later, and for 1.2 only suites with forward
// secrecy and authenticated encryption.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}

// current returns the certificate in the files. If they do not match, because they are being
// replaced one after the other, it returns the previous certificate.
func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := stamps(c.certFile, c.keyFile)
	if seen == c.seen {
		return c.pair
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Warn("admin: cannot load the changed certificate; the previous one remains in use", "cert_file", c.certFile, "error", err)
		return c.pair
	}
	c.pair = &pair
	c.log.Info("admin: loaded the changed certificate", "cert_file", c.certFile, "expires", pair.Leaf.NotAfter)
	return c.pair
}

// isFor reports whether the certificate is valid for a host.
func (c *Certificate) isFor(host string) bool { return c.current().Leaf.VerifyHostname(host) == nil }
