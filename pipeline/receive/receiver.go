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

	"github.com/ttydrain/ttydrain/pipeline/authority"
)

// Options says what a [Receiver] does. The zero value of every field but Dir and Handle is ready,
// and at least one of HTTPS and Syslog must be set.
type Options struct {
	// HTTPS and Syslog are the addresses to listen on, such as "127.0.0.1:8443"; port 0 takes a free
	// one, and "" leaves the receiver out.
	HTTPS, Syslog string
	// Dir is the folder of the certificates, which are made when they are missing: ca.pem, which
	// drains need, and ca.key, server.pem and server.key.
	Dir string
	// Names are host names and addresses that the server certificate is for, beside localhost,
	// 127.0.0.1, ::1, the machine's host name and the addresses listened on.
	Names []string

	// Token is the bearer token that HTTPS requests must have (RFC 6750), User and Password the
	// credentials (RFC 7617). With both set, either will do; with neither, anybody may send.
	Token          string
	User, Password string

	// MaxBody is the greatest size in bytes of a request's body, compressed and not; 32 MiB by
	// default.
	MaxBody int64
	// MaxMessage is the greatest size in bytes of a syslog message; 1 MiB by default.
	MaxMessage int
	// RememberKeys is how many idempotency keys are kept to tell repeats; 10,000 by default.
	RememberKeys int
	// Grace is how long [Receiver.Serve] lets clients finish when it is told to stop; 2 s by default.
	Grace time.Duration

	// Handle is called with every record in the order of arrival, one at a time; the records of a
	// request follow each other. A request is answered, and a connection read on, when it returns: a
	// slow Handle holds the clients up.
	Handle func(Received)
	// Logger gets what was refused, and why; nothing of what was sent. nil discards it.
	Logger *slog.Logger
}

// Defaults of Options.
const (
	defaultMaxBody      = 32 << 20
	defaultMaxMessage   = 1 << 20
	defaultRememberKeys = 10_000
	defaultGrace        = 2 * time.Second
)

// A Receiver listens for records.
type Receiver struct {
	o      Options
	log    *slog.Logger
	config *tls.Config
	https  net.Listener // nil for none
	syslog net.Listener // nil for none

	mu      sync.Mutex // guards the fields below, and calls of o.Handle
	keys    *recentKeys
	stopped bool // o.Handle is called no more
}

// New makes certificates where they are missing, and listens. Connections are taken by
// [Receiver.Serve]; without it, [Receiver.Close] ends the listening.
func New(o Options) (*Receiver, error) {
	switch {
	case o.Handle == nil:
		return nil, errors.New("receive: Options.Handle is missing")
	case o.HTTPS == "" && o.Syslog == "":
		return nil, errors.New("receive: nothing to listen on: give an address for HTTPS or for syslog")
	case o.Dir == "":
		return nil, errors.New("receive: a folder for the certificates is missing")
	case (o.User == "") != (o.Password == ""):
		return nil, errors.New("receive: a user needs a password, and a password a user")
	}
	setDefault(&o.MaxBody, defaultMaxBody)
	setDefault(&o.MaxMessage, defaultMaxMessage)
	setDefault(&o.RememberKeys, defaultRememberKeys)
	setDefault(&o.Grace, defaultGrace)
	r := &Receiver{o: o, log: o.Logger, keys: newRecentKeys(o.RememberKeys)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	names := o.Names
	for _, address := range []string{o.HTTPS, o.Syslog} {
		if host, _, err := net.SplitHostPort(address); err == nil {
			names = append(names[:len(names):len(names)], host)
		}
	}
	certs := certificates{Folder: authority.Folder{Dir: o.Dir, Now: time.Now()}, names: certificateNames(names)}
	certificate, err := certs.load()
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
			return nil, fmt.Errorf("receive: listen for %s: %w; another address may be free (port 0 takes any)", l.drain, err)
		}
	}
	return r, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// HTTPSAddr is the address that HTTPS is listened on; nil for none.
func (r *Receiver) HTTPSAddr() net.Addr { return addr(r.https) }

// SyslogAddr is the address that syslog is listened on; nil for none.
func (r *Receiver) SyslogAddr() net.Addr { return addr(r.syslog) }

func addr(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// CAFile is the path of the certificate authority that clients must trust.
func (r *Receiver) CAFile() string { return filepath.Join(r.o.Dir, caFile) }

// Close stops listening. It is for a receiver that is not served.
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

// Serve takes connections until ctx is done, or until a listener fails, which is the error. It may
// be called once.
//
// It stops in stages: it takes no new connections; it tells the syslog clients that no more will be
// read and lets everyone finish for Options.Grace; it closes what is left. When it has returned,
// Handle is called no more.
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
		serving.Go(func() { s.stop(grace) }) // ends with grace at the latest, and what Handle takes
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

// A server serves one protocol.
type server interface {
	// serve takes connections until stop is called. Any other end is an error.
	serve() error
	// stop lets clients finish until ctx is done, and then closes their connections.
	stop(ctx context.Context)
}

// deliver hands records over, and says whether it did: not after the receiver has stopped.
// key is the idempotency key of a request, or "".
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
