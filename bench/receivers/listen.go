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

// A taker takes what arrives: requests, or the frames of a connection to its end.
type taker interface {
	http.Handler
	readFrames(*bufio.Reader) error
}

// listen has a taker take what is sent to the address over TLS ("https" or "syslog"), until the
// process ends. Its certificates are in dir.
func listen(protocol, dir string, t taker) (address, caFile string, err error) {
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
		server := &http.Server{Handler: t, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
		go server.ServeTLS(listener, "", "") // ends with the process
	case "syslog":
		go serveSyslog(tls.NewListener(listener, config), t) // ends with the process
	default:
		return "", "", fmt.Errorf("protocol %q is not known", protocol)
	}
	return listener.Addr().String(), caFile, nil
}

// receiverTLS makes a certificate for this machine that is its own authority, and puts it into a
// folder.
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
func serveSyslog(l net.Listener, t taker) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer conn.Close()
			if err := t.readFrames(newFrameReader(conn)); !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bench, receiver:", err)
			}
		}()
	}
}

// newFrameReader has room for the longest message.
func newFrameReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 256<<10) }

// nextFrame gives a message (RFC 6587 §3.4.1), which is good until the next one.
func nextFrame(r *bufio.Reader) ([]byte, error) {
	length, err := r.ReadSlice(' ')
	if err != nil {
		return nil, err
	}
	size, ok := digits(length[:len(length)-1])
	if !ok {
		return nil, errors.New("a frame does not begin with its length")
	}
	if size > uint64(r.Size()) {
		return nil, fmt.Errorf("a frame has %d bytes", size)
	}
	message, err := r.Peek(int(size))
	if err != nil {
		return nil, fmt.Errorf("a frame is cut off: %w", err)
	}
	_, err = r.Discard(int(size))
	return message, err
}
