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

// Sessions runs what the people who log in ask for.
type Sessions interface {
	// Run runs one session and returns when it is over. The context is cancelled, with
	// session.ErrDisconnected or session.ErrShutdown as its cause, when the session must end;
	// Run then still writes what the person shall read, and returns soon.
	//
	// A *session.Refusal is shown to the person; so is, without details, that there was another
	// error. Either way the exit status is then 255, and Exit is not looked at.
	//
	// A Write to Stdout or Stderr blocks while the client takes no more, and fails after the client
	// has gone. When Run has returned, Stdin ends with io.EOF as soon as the client has confirmed.
	Run(ctx context.Context, req session.Request, io session.IO) (session.Exit, error)
}

// Options say how a gateway works. HostKeys, Authorizer and Sessions are required; a zero in the
// others takes the default.
type Options struct {
	HostKeys   []ssh.Signer // at most one of each type: ed25519, ecdsa, rsa
	Authorizer Authorizer
	Sessions   Sessions
	// AcceptEnv are patterns, as path.Match has them, of the environment variables that a client may
	// set. None by default. ACCESS_TOKEN, which goes to the Authorizer alone, and APTIBLE_*, which
	// are what the platform says, never match.
	AcceptEnv []string
	// Metrics count the sessions that the gateway itself refuses; nil for nobody.
	Metrics *session.Metrics
	// ConnectionMetrics count connections; nil for none.
	ConnectionMetrics *Metrics
	Log               *slog.Logger // by default nothing is logged

	Limits      Limits        // at first: see SetLimits
	StopTimeout time.Duration // from the stop until what has not ended is cut; 10 s

	// A client that is silent for KeepaliveInterval (15 s) is asked whether it is there; one that is
	// silent for KeepaliveCount (4) times as long is cut off.
	KeepaliveInterval time.Duration
	KeepaliveCount    int

	// Version is the identification string (RFC 4253 §4.2); "SSH-2.0-OpenSSH_9.9 ttydrain".
	// OpenSSH's client uses extensions with servers whose version begins with OpenSSH: it forgoes
	// further sessions where it shares no connection (no-more-sessions@openssh.com), and says when
	// its output was closed (eow@openssh.com).
	Version string
}

// forcedGrace is how long a session may take to end after its connection was cut: all it has to do
// then is to kill a program.
const forcedGrace = 5 * time.Second

// A Gateway is an SSH server.
type Gateway struct {
	options Options
	config  ssh.ServerConfig // without the callbacks, which each connection has of its own
	log     *slog.Logger
	served  atomic.Bool
	wg      sync.WaitGroup // one for each connection

	admission *admission
	refusals  *refusalLog

	mu          sync.Mutex // guards what follows
	connections map[*connection]struct{}
}

// New checks the options and makes a gateway of them, which does nothing before Serve.
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

// SetLimits replaces the limits, for what clients ask for from then on; nothing that they hold
// ends. It may be called at any time.
func (g *Gateway) SetLimits(l Limits) error {
	l, err := l.complete()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	g.admission.limits.Store(&l)
	return nil
}

// limits returns the limits in force.
func (g *Gateway) limits() *Limits { return g.admission.limits.Load() }

// complete gives the options with the defaults in place, or every mistake in them.
func (o Options) complete() (Options, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(o.HostKeys) == 0 {
		bad("no host key: load or create one with LoadHostKeys")
	}
	keys := make([]ssh.Signer, 0, len(o.HostKeys)) // the caller's slice stays as it is
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

// Serve accepts connections until ctx is done, and then stops as the package says. It closes the
// listener, and returns when no connection is left.
//
// It returns nil after a clean stop, and an error that counts them if sessions had to be cut or did
// not even end then, or if the listener failed. It may be called once.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	if g.served.Swap(true) {
		return errors.New("gateway: Serve was called before; make another gateway")
	}
	// Sessions shall see why they end, so they get a context with a cause of its own.
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

// accept starts a goroutine for each connection until ctx is done (nil) or the listener is closed.
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
		default: // out of file descriptors, or a client that was gone at once
			g.log.Error("cannot accept a connection; trying again", "err", err, "delay", delay)
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
		g.wg.Go(func() { // ends with the connection, which ends with its client or by drain
			defer g.leave(c)
			c.serve(sessions)
		})
	}
}

// turnAway closes a connection that is refused.
func (g *Gateway) turnAway(nc net.Conn, source netip.Prefix, reason string) {
	g.refusals.report(g.log, slog.LevelWarn, 1, refusalKind{source, "connection refused", reason}, "remote", nc.RemoteAddr().String())
	// A line before the identification, which clients show or log (RFC 4253 §4.2). The
	// socket is new, so there is room for it; the deadline is for connections of other kinds.
	nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	fmt.Fprintf(nc, "ttydrain: %s; try again later\r\n", refusalTexts[reason])
	nc.Close()
}

func (g *Gateway) leave(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connections, c)
}

// drain waits for the connections to end, which the sessions' context has told them to, and cuts
// those that do not.
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
	g.log.Warn("gateway cut what had not ended", "connections", connections, "sessions", sessions, "after", g.options.StopTimeout)
	if !within(idle, forcedGrace) {
		_, sessions := g.cut()
		return fmt.Errorf("gateway: %d sessions go on although their clients were cut off; they end with the process", sessions)
	}
	return fmt.Errorf("gateway: %d connections with %d sessions did not end within %s and were cut",
		connections, sessions, g.options.StopTimeout)
}

// cut closes the connections that are left and counts them and their sessions.
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

// within says whether done is closed within d.
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
