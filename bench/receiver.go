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

// A receiver is a process that takes what a drain is sent and does nothing but count it, so that
// what is measured is the sender. It speaks TLS, as real drains do.
type receiver struct {
	*child
	// Address is host and port.
	Address string
	// CAFile has the authority of its certificate.
	CAFile string
}

// receiverSetup says what a receiver is to be.
type receiverSetup struct {
	// Protocol is "https" (answers 200 to every request) or "syslog" (octet counting, RFC 6587
	// §3.4.1).
	Protocol string
	// Dir is where its certificates are.
	Dir string
	// Unit is what every record has once; "" where each frame is one (syslog).
	Unit string
	// Last is what the last record of a session has, and no other. In syslog it is looked for in the
	// first 256 bytes of each message.
	Last string
	// Keep is a file for what arrives (syslog), a message a line; "" to throw it away.
	Keep string
}

// What a receiver is asked to do.
const (
	askBegin = "begin" // count anew
	askFirst = "first" // say when something has arrived
	askAwait = "await" // say when that many sessions have arrived to their ends, with all their records
	askCount = "count" // say what has arrived
)

// receiverQuestion is what a receiver is asked.
type receiverQuestion struct {
	Do       string
	Sessions int // of askAwait
}

// received is a receiver's answer.
type received struct {
	Records, Sessions int
	// Ends is how many records the sessions have whose ends have arrived, and Shown the bytes that
	// they showed, as their ends tell.
	Ends      int
	Shown     int64
	Bytes     int64         // of bodies or messages
	Processor time.Duration // that the receiver used since it began to count
}

// whole says whether everything arrived, and nothing twice, as far as the receiver can tell.
func (r received) whole() error {
	if r.Records != r.Ends {
		return fmt.Errorf("%d records arrived of the %d that the ends of the sessions tell of", r.Records, r.Ends)
	}
	return nil
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

func (r *receiver) begin() error { return r.ask(receiverQuestion{Do: askBegin}, new(received)) }

// first waits until something has arrived since begin.
func (r *receiver) first() (got received, err error) {
	return got, r.ask(receiverQuestion{Do: askFirst}, &got)
}

// await waits until so many sessions have arrived since begin, with all their records. It gives up
// when nothing has arrived for some time: see [received.whole].
func (r *receiver) await(sessions int) (got received, err error) {
	return got, r.ask(receiverQuestion{Do: askAwait, Sessions: sessions}, &got)
}

func (r *receiver) count() (got received, err error) {
	return got, r.ask(receiverQuestion{Do: askCount}, &got)
}

// receiverMain is the receiver's process.
func receiverMain(in *json.Decoder, out *json.Encoder) error {
	var setup receiverSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	c := &counter{setup: setup}
	c.changed.L = &c.mu
	if setup.Keep != "" {
		var err error
		if c.keep, err = os.Create(setup.Keep); err != nil {
			return err
		}
	}
	address, caFile, err := listen(setup.Protocol, setup.Dir, c)
	if err != nil {
		return err
	}
	if err := out.Encode(receiver{Address: address, CAFile: caFile}); err != nil {
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

// A counter counts what arrives.
type counter struct {
	setup receiverSetup
	keep  *os.File // of setup.Keep, or nil; of one connection at a time

	mu      sync.Mutex
	changed sync.Cond     // of mu: what is waited for is there, or nothing comes any more
	got     received      // guarded by mu; without Processor
	before  time.Duration // guarded by mu: the processor time when it began to count
	// ready says whether got is what is waited for; nil while nobody waits. Guarded by mu.
	ready func() bool
}

// patience is how long nothing has to arrive before a receiver takes it that nothing comes any
// more.
const patience = 30 * time.Second

func (c *counter) answer(q receiverQuestion) received {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch q.Do {
	case askBegin:
		c.got, c.before = received{}, processorTime()
	case askFirst:
		c.wait(func() bool { return c.got.Records > 0 })
	case askAwait:
		c.wait(func() bool { return c.got.Sessions >= q.Sessions && c.got.Records >= c.got.Ends })
	}
	got := c.got
	got.Processor = processorTime() - c.before
	return got
}

// wait waits, with the lock, until ready says so or nothing comes any more.
func (c *counter) wait(ready func() bool) {
	c.ready = ready
	defer func() { c.ready = nil }()
	stop := make(chan struct{})
	defer close(stop)
	stalled := false // guarded by mu
	go func() {      // ends with wait
		tick := time.NewTicker(patience)
		defer tick.Stop()
		for before := -1; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			c.mu.Lock()
			if c.got.Records == before {
				stalled = true
				c.changed.Broadcast()
			}
			before = c.got.Records
			c.mu.Unlock()
		}
	}()
	for !ready() && !stalled {
		c.changed.Wait()
	}
}

func (c *counter) add(n received) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Records += n.Records
	c.got.Sessions += n.Sessions
	c.got.Ends += n.Ends
	c.got.Shown += n.Shown
	c.got.Bytes += n.Bytes
	if c.ready != nil && c.ready() {
		c.changed.Broadcast()
	}
}

// end counts the last record of a session, in which a number follows each of the two marks.
func (n *received) end(record []byte, sequence, shown string) {
	n.Sessions++
	n.Ends += int(numberAfter(record, sequence))
	n.Shown += numberAfter(record, shown)
}

// numberAfter is the number behind a mark; 0 where there is none.
func numberAfter(b []byte, mark string) (number int64) {
	_, rest, _ := bytes.Cut(b, []byte(mark))
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		number = 10*number + int64(c-'0')
	}
	return number
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
	unit, last := []byte(c.setup.Unit), []byte(c.setup.Last)
	n := received{Records: bytes.Count(b, unit), Bytes: int64(len(b))}
	for from := 0; ; {
		at := bytes.Index(b[from:], last)
		if at < 0 {
			break
		}
		at += from
		from = at + len(last)
		// Programs of others have the fields in another order.
		record := b[max(0, bytes.LastIndex(b[:at], unit)):]
		if next := bytes.Index(record[len(unit):], unit); next >= 0 {
			record = record[:len(unit)+next]
		}
		n.end(record, `"sequence":`, `"bytes":`)
	}
	c.add(n)
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

// readFrames counts the frames of a connection to its end. It tells of what it counted whenever it
// is about to wait.
func (c *counter) readFrames(r *bufio.Reader) error {
	last := []byte(c.setup.Last)
	var kept *bufio.Writer
	if c.keep != nil {
		kept = bufio.NewWriter(c.keep)
	}
	var n received
	for {
		if r.Buffered() == 0 {
			if kept != nil {
				if err := kept.Flush(); err != nil {
					return err
				}
			}
			c.add(n)
			n = received{}
		}
		message, err := nextFrame(r)
		if err != nil {
			c.add(n)
			return err
		}
		if bytes.Contains(message[:min(len(message), 256)], last) {
			n.end(message, ` sequence="`, ` bytes="`)
		}
		if kept != nil {
			kept.Write(message)
			kept.WriteByte('\n') // an error comes with Flush
		}
		n.Records++
		n.Bytes += int64(len(message))
	}
}
