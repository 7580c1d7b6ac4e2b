package receivers

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/authority"
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

// receiverTLS returns a certificate for the loopback address, and the file of its authority in dir.
func receiverTLS(dir string) (config *tls.Config, caFile string, err error) {
	f := authority.Folder{Dir: dir, Now: time.Now()}
	ca, err := f.Make("bench")
	if err != nil {
		return nil, "", fmt.Errorf("create an authority: %w", err)
	}
	const name = "receiver"
	err = f.Issue(ca, authority.Request{
		Name: name, CommonName: "localhost", Hosts: []string{"localhost", "127.0.0.1"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, "", fmt.Errorf("create a certificate: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(f.Path(name+".pem"), f.Path(name+".key"))
	if err != nil {
		return nil, "", fmt.Errorf("load the certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, f.Path(authority.CertFile), nil
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
