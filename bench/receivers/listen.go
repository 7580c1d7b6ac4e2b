package receivers

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A handler handles requests, or the frames of a connection until it ends.
type handler interface {
	http.Handler
	readFrames(*bufio.Reader) error
}

// listen serves a protocol ("https" or "syslog") over TLS until the process ends, and returns its
// address. Its certificate is in dir.
func listen(protocol, dir string, h handler) (address, caFile string, err error) {
	config, caFile, err := receiverTLS(dir)
	if err != nil {
		return "", "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	switch protocol {
	case "https":
		server := &http.Server{Handler: h, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
		go server.ServeTLS(listener, "", "") // ends with the process
	case "syslog":
		go serveSyslog(tls.NewListener(listener, config), h) // ends with the process
	default:
		return "", "", fmt.Errorf("unknown protocol %q", protocol)
	}
	return listener.Addr().String(), caFile, nil
}

// receiverTLS returns a self-signed certificate for the loopback address, which is also written to
// a file in dir.
func receiverTLS(dir string) (config *tls.Config, caFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("make a key: %w", err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, &key.PublicKey, key)
	if err != nil {
		return nil, "", fmt.Errorf("make a certificate: %w", err)
	}
	caFile = filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, "", err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, caFile, nil
}

// serveSyslog serves until the listener fails.
func serveSyslog(l net.Listener, h handler) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer conn.Close()
			if err := h.readFrames(newFrameReader(conn)); !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bench, receiver:", err)
			}
		}()
	}
}

// newFrameReader returns a reader whose buffer holds the longest message.
func newFrameReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 256<<10) }

// nextFrame returns a message (RFC 6587 §3.4.1). It is valid until the next call.
func nextFrame(r *bufio.Reader) ([]byte, error) {
	length, err := r.ReadSlice(' ')
	if err != nil {
		return nil, err
	}
	size, ok := digits(length[:len(length)-1])
	if !ok {
		return nil, errors.New("read a frame: it does not start with its length")
	}
	if size > uint64(r.Size()) {
		return nil, fmt.Errorf("read a frame: %d bytes are too many", size)
	}
	message, err := r.Peek(int(size))
	if err != nil {
		return nil, fmt.Errorf("read a frame: it is truncated: %w", err)
	}
	_, err = r.Discard(int(size))
	return message, err
}
