package admin

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Certificate is the server's own, with its key. It is read again when its files change, so that
// a renewed one is used from the next connection on.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu   sync.Mutex // guards what follows
	pair *tls.Certificate
	seen [2]stamp // the files when they were read last, also where they were of no use
}

// A stamp is what changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate with its chain, and its key, in PEM form.
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

// config returns the server's side of TLS: 1.2 or later, and in 1.2 only suites with forward
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

// current returns the certificate of the files. While they are replaced one after the other they do
// not fit together: the one before is used then.
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
		c.log.Warn("admin: a changed certificate cannot be used, the one before stays in use", "cert_file", c.certFile, "error", err)
		return c.pair
	}
	c.pair = &pair
	c.log.Info("admin: read a changed certificate", "cert_file", c.certFile, "expires", pair.Leaf.NotAfter)
	return c.pair
}

// isFor reports whether the certificate is for a host.
func (c *Certificate) isFor(host string) bool { return c.current().Leaf.VerifyHostname(host) == nil }
