package receive

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"
)

// Options configure a [Receiver]. Dir, Handle and at least one of HTTPS and Syslog are required.
type Options struct {
	// HTTPS and Syslog are the listen addresses, such as "127.0.0.1:8443". Port 0 selects a free
	// port; "" disables the protocol.
	HTTPS, Syslog string
	// Dir is the folder for ca.pem, which drains need, and ca.key, server.pem and server.key.
	// Missing files are created.
	Dir string
	// Names are additional host names and addresses for the server certificate. It always covers
	// localhost, 127.0.0.1, ::1, the machine's host name and the listen addresses.
	Names []string

	// Token is the bearer token that HTTPS requests must have (RFC 6750); User and Password are the
	// credentials for basic authentication (RFC 7617). If both are set, either is accepted; if
	// neither is set, requests are not authenticated.
	Token          string
	User, Password string

	// MaxBody is the maximum size of a request's body in bytes, both compressed and decompressed;
	// 32 MiB by default.
	MaxBody int64
	// MaxMessage is the maximum size of a syslog message in bytes; 1 MiB by default.
	MaxMessage int
	// RememberKeys is the number of idempotency keys that are kept to detect repeated requests;
	// 10,000 by default.
	RememberKeys int
	// Grace bounds the time that [Receiver.Serve] waits for clients when it stops; 2 s by default.
	Grace time.Duration

	// Handle is called once for each record, in the order of arrival and never concurrently; the
	// records of a request are consecutive. A slow Handle slows down the clients: requests are
	// answered, and connections read further, only when it has returned.
	Handle func(Received)
	// Logger logs refusals and their reasons, without the content. nil discards the log.
	Logger *slog.Logger
}

// Default values of Options.
const (
	defaultMaxBody      = 32 << 20
	defaultMaxMessage   = 1 << 20
	defaultRememberKeys = 10_000
	defaultGrace        = 2 * time.Second
)

// Receiver listens for records.
type Receiver struct {
	o      Options
	log    *slog.Logger
	config *tls.Config
	https  net.Listener // nil for none
	syslog net.Listener // nil for none

	mu      sync.Mutex // guards the fields below, and serializes calls of o.Handle
	keys    *recentKeys
	stopped bool // o.Handle is no longer called
}

// New creates missing certificates and starts to listen. The caller must call either
// [Receiver.Serve], which accepts connections, or [Receiver.Close].
func New(o Options) (*Receiver, error) {
	switch {
	case o.Handle == nil:
		return nil, errors.New("receive: Options.Handle is missing")
	case o.HTTPS == "" && o.Syslog == "":
		return nil, errors.New("receive: nothing to listen on: set an address for HTTPS or for syslog")
	case o.Dir == "":
		return nil, errors.New("receive: a folder for the certificates is missing")
	case (o.User == "") != (o.Password == ""):
		return nil, errors.New("receive: user and password must be set together")
	}
	setDefault(&o.MaxBody, defaultMaxBody)
	setDefault(&o.MaxMessage, defaultMaxMessage)
	setDefault(&o.RememberKeys, defaultRememberKeys)
	setDefault(&o.Grace, defaultGrace)
	r := &Receiver{o: o, log: o.Logger, keys: newRecentKeys(o.RememberKeys)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	certificate, err := loadCertificate(o.Dir, o.Names, o.HTTPS, o.Syslog)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	r.config = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	for _, l := range []struct {
		drain    Drain
		address  string
		listener *net.Listener
	}{{HTTPS, o.HTTPS, &r.https}, {Syslog, o.Syslog, &r.syslog}} {
		if l.address == "" {
			continue
		}
		if *l.listener, err = net.Listen("tcp", l.address); err != nil {
			r.Close()
			return nil, &ListenError{l.drain, l.address, err}
		}
	}
	return r, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// HTTPSAddr returns the listen address for HTTPS, or nil.
func (r *Receiver) HTTPSAddr() net.Addr { return addr(r.https) }

// SyslogAddr returns the listen address for syslog, or nil.
func (r *Receiver) SyslogAddr() net.Addr { return addr(r.syslog) }

func addr(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// CAFile returns the path of the certificate authority that clients must trust.
func (r *Receiver) CAFile() string { return filepath.Join(r.o.Dir, caFile) }

// Close stops listening. It is only for a receiver that does not serve.
func (r *Receiver) Close() error {
	var errs []error
	for _, l := range []net.Listener{r.https, r.syslog} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Serve accepts connections until ctx is done or a listener fails, and returns the listener's
// error. It may be called once.
//
// It stops in stages: it stops accepting connections, signals the syslog clients that it stops
// reading, waits up to Options.Grace for all clients, and closes the remaining connections. Handle
// is not called after Serve has returned.
func (r *Receiver) Serve(ctx context.Context) error {
	servers := make([]server, 0, 2)
	if r.https != nil {
		servers = append(servers, newHTTPSServer(r))
	}
	if r.syslog != nil {
		servers = append(servers, newSyslogServer(r))
	}
	failed := make(chan error, len(servers))
	var serving sync.WaitGroup
	for _, s := range servers {
		serving.Go(func() { failed <- s.serve() }) // ends when its listener is closed
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}

	grace, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), r.o.Grace, errors.New("the receiver is stopping"))
	defer cancel()
	for _, s := range servers {
		serving.Go(func() { s.stop(grace) }) // ends when grace does and the running Handle has returned
	}
	serving.Wait()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return nil
}

// server serves one protocol.
type server interface {
	// serve accepts connections until stop is called. It returns an error if it ends otherwise.
	serve() error
	// stop waits for clients to finish until ctx is done, and then closes their connections.
	stop(ctx context.Context)
}

// deliver passes records to Handle. It returns false if the receiver has stopped. key is the
// request's idempotency key, or "".
func (r *Receiver) deliver(key string, batch []Received) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	repeat := key != "" && r.keys.seen(key)
	now := time.Now()
	for _, received := range batch {
		received.At, received.Repeat = now, repeat
		r.o.Handle(received)
	}
	return true
}

// A ListenError is the error of listening at an address.
type ListenError struct {
	Drain   Drain // what would be received there
	Address string
	Err     error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("receive: listen for %s: %v", e.Drain, e.Err)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }
