package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
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
	"sync"
	"time"
)

// A receiver is a process that takes what a drain is sent and does nothing but count it, so that what
// is measured is the sender. It speaks TLS, as real drains do.
type receiver struct {
	*child
	// Address is host and port.
	Address string
	// CAFile has the authority of its certificate.
	CAFile string
}

// receiverSetup says what a receiver is to be.
type receiverSetup struct {
	// Protocol is "https" (answers 200 to every request) or "syslog" (octet counting, RFC 6587 §3.4.1).
	Protocol string
	// Dir is where its certificates are.
	Dir string
	// Unit is what every record has once; "" where each frame is one (syslog).
	Unit string
	// Last is what the last record of a session has, and no other. In syslog it is looked for in the first
	// 256 bytes of each message.
	Last string
}

// receiverQuestion is what a receiver is asked: with Sessions 0 to begin to count anew, otherwise to
// answer when that many sessions have arrived to their ends.
type receiverQuestion struct{ Sessions int }

// received is a receiver's answer.
type received struct {
	Records, Sessions int
	Bytes             int64         // of bodies or messages
	Processor         time.Duration // that the receiver used since it began to count
}

func startReceiver(ctx context.Context, setup receiverSetup) (*receiver, error) {
	r := new(receiver)
	var err error
	r.child, err = startChild(ctx, "receiver", setup, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *receiver) begin() error { return r.ask(receiverQuestion{}, new(received)) }

// await waits until so many sessions have arrived since begin.
func (r *receiver) await(sessions int) (got received, err error) {
	return got, r.ask(receiverQuestion{sessions}, &got)
}

// receiverMain is the receiver's process.
func receiverMain(in *json.Decoder, out *json.Encoder) error {
	var setup receiverSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	config, caFile, err := receiverTLS(setup.Dir)
	if err != nil {
		return err
	}
	c := &counter{setup: setup}
	c.changed.L = &c.mu
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	switch setup.Protocol {
	case "https":
		server := &http.Server{Handler: c, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
		go server.ServeTLS(listener, "", "") // ends with the process
	case "syslog":
		go c.serveSyslog(tls.NewListener(listener, config)) // ends with the process
	default:
		return fmt.Errorf("protocol %q is not known", setup.Protocol)
	}
	if err := out.Encode(receiver{Address: listener.Addr().String(), CAFile: caFile}); err != nil {
		return err
	}
	for {
		var q receiverQuestion
		if err := in.Decode(&q); err != nil {
			return err
		}
		if err := out.Encode(c.answer(q)); err != nil {
			return err
		}
	}
}

// receiverTLS makes a certificate for this machine that is its own authority, and puts it into a folder.
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

// A counter counts what arrives.
type counter struct {
	setup receiverSetup

	mu      sync.Mutex
	changed sync.Cond     // of mu: got.Sessions has grown
	got     received      // guarded by mu; without Processor
	before  time.Duration // guarded by mu: the processor time when it began to count
}

func (c *counter) answer(q receiverQuestion) received {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.Sessions == 0 {
		c.got, c.before = received{}, processorTime()
	}
	for c.got.Sessions < q.Sessions {
		c.changed.Wait()
	}
	got := c.got
	got.Processor = processorTime() - c.before
	return got
}

func (c *counter) add(n received) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Records += n.Records
	c.got.Sessions += n.Sessions
	c.got.Bytes += n.Bytes
	if n.Sessions > 0 {
		c.changed.Broadcast()
	}
}

// bodies are buffers for request bodies.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// ServeHTTP counts the records of a request.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(r.Body); err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	b := body.Bytes()
	c.add(received{bytes.Count(b, []byte(c.setup.Unit)), bytes.Count(b, []byte(c.setup.Last)), int64(len(b)), 0})
}

// serveSyslog serves until the listener fails.
func (c *counter) serveSyslog(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer conn.Close()
			if err := c.readFrames(bufio.NewReaderSize(conn, 256<<10)); !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bench, receiver:", err)
			}
		}()
	}
}

// readFrames counts the frames of a connection to its end. It tells of what it counted whenever it is
// about to wait.
func (c *counter) readFrames(r *bufio.Reader) error {
	last := []byte(c.setup.Last)
	var n received
	for {
		if r.Buffered() == 0 {
			c.add(n)
			n = received{}
		}
		size := 0
		for {
			b, err := r.ReadByte()
			if err != nil {
				c.add(n)
				return err
			}
			if b == ' ' {
				break
			}
			if b < '0' || b > '9' {
				return errors.New("a frame does not begin with its length")
			}
			size = 10*size + int(b-'0')
		}
		head, err := r.Peek(min(size, 256))
		if err != nil {
			return fmt.Errorf("a frame is cut off: %w", err)
		}
		if bytes.Contains(head, last) {
			n.Sessions++
		}
		if _, err := r.Discard(size); err != nil {
			return fmt.Errorf("a frame is cut off: %w", err)
		}
		n.Records++
		n.Bytes += int64(size)
	}
}
