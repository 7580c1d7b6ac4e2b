package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Sessions runs the sessions that logged-in users request.
type Sessions interface {
	// Run runs one session and returns when it has ended. The context is cancelled, with
	// session.ErrDisconnected or session.ErrShutdown as its cause, when the session must end; Run
	// may then still write messages to the user, and returns soon.
	//
	// A *session.Refusal is shown to the user; for any other error the user only sees that there
	// was one. In both cases the exit status is 255, and Exit is ignored.
	//
	// A Write to Stdout or Stderr blocks while the client does not read, and fails when the client
	// is gone. After Run has returned, Stdin returns io.EOF as soon as the client has confirmed the
	// end.
	Run(ctx context.Context, req session.Request, io session.IO) (session.Exit, error)
}

// Options configure a gateway. HostKeys, Authorizer and Sessions are required; zero values in other
// fields select the defaults.
type Options struct {
	HostKeys   []ssh.Signer // at most one of each type: ed25519, ecdsa, rsa
	Authorizer Authorizer
	Sessions   Sessions
	// AcceptEnv holds patterns, as for path.Match, of the environment variables that a client may
	// set. The default is none. ACCESS_TOKEN, which only goes to the Authorizer, and APTIBLE_*,
	// which the platform sets, never match.
	AcceptEnv []string
	// Metrics counts the sessions that the gateway itself refuses; nil counts none.
	Metrics *session.Metrics
	// ConnectionMetrics counts connections; nil counts none.
	ConnectionMetrics *Metrics
	Log               *slog.Logger // nil logs nothing

	Limits      Limits        // initial limits: see SetLimits
	StopTimeout time.Duration // time until remaining connections are cut; default 10 s

	// A client that is silent for KeepaliveInterval (default 15 s) is sent a keepalive request; one
	// that is silent for KeepaliveCount (default 4) times as long is cut off.
	KeepaliveInterval time.Duration
	KeepaliveCount    int

	// Version is the identification string (RFC 4253 §4.2); the default is "SSH-2.0-OpenSSH_9.9
	// ttydrain". With servers whose version begins with OpenSSH, OpenSSH's client uses extensions:
	// it forgoes further sessions unless it shares the connection (no-more-sessions@openssh.com),
	// and reports when its output was closed (eow@openssh.com).
	Version string
}

// forcedGrace is the time for a session to end after its connection was cut: it only has to kill
// its program.
const forcedGrace = 5 * time.Second

// Gateway is an SSH server.
type Gateway struct {
	options Options
	config  ssh.ServerConfig // without the callbacks, which each connection sets
	log     *slog.Logger
	served  atomic.Bool
	wg      sync.WaitGroup // counts the connections

	admission *admission
	refusals  *refusalLog

	mu          sync.Mutex // guards what follows
	connections map[*connection]struct{}
}

// New checks the options and returns a gateway, which does nothing before Serve.
func New(options Options) (*Gateway, error) {
	o, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g := &Gateway{
		options: o, log: o.Log, connections: make(map[*connection]struct{}),
		admission: newAdmission(o.Limits, o.ConnectionMetrics), refusals: newRefusalLog(o.Log),
	}
	a := algorithms()
	g.config = ssh.ServerConfig{
		Config:                  ssh.Config{KeyExchanges: a.KeyExchanges, Ciphers: a.Ciphers, MACs: a.MACs},
		ServerVersion:           o.Version,
		PublicKeyAuthAlgorithms: a.PublicKeyAuths,
	}
	for _, key := range o.HostKeys {
		g.config.AddHostKey(key)
	}
	return g, nil
}

// SetLimits replaces the limits for future requests; existing connections and sessions continue. It
// may be called at any time.
func (g *Gateway) SetLimits(l Limits) error {
	l, err := l.complete()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	g.admission.limits.Store(&l)
	return nil
}

// limits returns the current limits.
func (g *Gateway) limits() *Limits { return g.admission.limits.Load() }

// complete returns the options with defaults, or all errors in them.
func (o Options) complete() (Options, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(o.HostKeys) == 0 {
		bad("no host key: load or create one with LoadHostKeys")
	}
	keys := make([]ssh.Signer, 0, len(o.HostKeys)) // does not modify the caller's slice
	types := make(map[string]bool)
	for _, key := range o.HostKeys {
		signer, err := hostSigner(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if kind := signer.PublicKey().Type(); types[kind] {
			bad("two host keys of type %s: clients can be shown one of each type", kind)
		}
		types[signer.PublicKey().Type()] = true
		keys = append(keys, signer)
	}
	o.HostKeys = keys
	if o.Authorizer == nil {
		bad("no authorizer: nobody could log in")
	}
	if o.Sessions == nil {
		bad("no sessions to run")
	}
	for _, pattern := range o.AcceptEnv {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			bad("accepted environment: %q is not a pattern; write a name, or a pattern such as LC_*", pattern)
		}
	}
	errs = append(errs,
		otherwise(&o.StopTimeout, "stop timeout", 10*time.Second),
		otherwise(&o.KeepaliveInterval, "keepalive interval", 15*time.Second),
		otherwise(&o.KeepaliveCount, "keepalive count", 4))
	var err error
	o.Limits, err = o.Limits.complete()
	errs = append(errs, err)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "SSH-2.0-OpenSSH_9.9 ttydrain"
	}
	// RFC 4253 §4.2: at most 255 characters with the line end, printable ASCII.
	if !strings.HasPrefix(o.Version, "SSH-2.0-") || len(o.Version) > 253 || !printable(o.Version) {
		bad("version %q: it must begin with SSH-2.0- and be one line of printable ASCII", o.Version)
	}
	return o, errors.Join(errs...)
}

// Serve accepts connections until ctx is done, and then stops as the package documentation
// describes. It closes the listener, and returns when no connection is left.
//
// It returns nil after a clean stop. It returns an error if sessions had to be cut, or did not end
// even then, with their number, or if the listener failed. It may be called once.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	if g.served.Swap(true) {
		return errors.New("gateway: Serve was called before; make another gateway")
	}
	// Sessions must see why they end, so their context has a cause of its own.
	sessions, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)

	accepted := make(chan struct{})
	var closer sync.WaitGroup
	closer.Go(func() { // ends with ctx or with accept
		select {
		case <-ctx.Done():
		case <-accepted:
		}
		l.Close()
	})
	for _, key := range g.options.HostKeys {
		g.log.Info("gateway listens", "address", l.Addr().String(), "host_key", ssh.FingerprintSHA256(key.PublicKey()))
	}
	err := g.accept(ctx, sessions, l)
	close(accepted)
	closer.Wait()

	stop(session.ErrShutdown)
	err = errors.Join(err, g.drain())
	g.refusals.close()
	return err
}

// accept starts a goroutine for each connection until ctx is done (then it returns nil) or the
// listener is closed.
func (g *Gateway) accept(ctx, sessions context.Context, l net.Listener) error {
	const first, last = 5 * time.Millisecond, time.Second
	delay := first
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("gateway: accept a connection: %w", err)
		default: // out of file descriptors, or a client that disconnected at once
			g.log.Error("connection not accepted, retrying", "error", err, "delay", delay)
			select {
			case <-ctx.Done():
			case <-time.After(delay):
			}
			delay = min(2*delay, last)
			continue
		}
		delay = first
		source, refused := g.admission.begin(nc.RemoteAddr())
		if refused != "" {
			g.turnAway(nc, source, refused)
			continue
		}
		c := &connection{
			gateway: g, net: nc, heard: newHeard(nc), source: source, log: g.log.With("remote", nc.RemoteAddr().String()),
		}
		g.mu.Lock()
		g.connections[c] = struct{}{}
		g.mu.Unlock()
		g.wg.Go(func() { // ends with the connection, which its client or drain ends
			defer g.leave(c)
			c.serve(sessions)
		})
	}
}

// turnAway closes a refused connection.
func (g *Gateway) turnAway(nc net.Conn, source netip.Prefix, reason string) {
	g.refusals.report(g.log, slog.LevelWarn, 1, refusalKind{source, "connection refused", reason}, "remote", nc.RemoteAddr().String())
	// Clients show or log a line before the identification (RFC 4253 §4.2). A new socket has space
	// for it; the deadline is for other kinds of connections.
	nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	fmt.Fprintf(nc, "ttydrain: %s; try again later\r\n", refusalTexts[reason])
	nc.Close()
}

func (g *Gateway) leave(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connections, c)
}

// drain waits for the connections to end, after the sessions' context was cancelled, and cuts those
// that do not.
func (g *Gateway) drain() error {
	idle := make(chan struct{})
	go func() { // ends with the last connection
		g.wg.Wait()
		close(idle)
	}()
	if within(idle, g.options.StopTimeout) {
		return nil
	}
	connections, sessions := g.cut()
	g.log.Warn("connections cut that had not ended", "connections", connections, "sessions", sessions, "after", g.options.StopTimeout)
	if !within(idle, forcedGrace) {
		_, sessions := g.cut()
		return fmt.Errorf("gateway: %d sessions continue although their clients were cut off; they end with the process", sessions)
	}
	return fmt.Errorf("gateway: %d connections with %d sessions did not end within %s and were cut",
		connections, sessions, g.options.StopTimeout)
}

// cut closes the remaining connections, and returns the number of them and of their sessions.
func (g *Gateway) cut() (connections, sessions int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.connections {
		connections++
		sessions += int(c.running.Load())
		c.net.Close()
	}
	return connections, sessions
}

// within reports whether done is closed within d.
func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
