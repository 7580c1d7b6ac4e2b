package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// connection is a client connection, from its first byte. Its fields belong to the goroutine that
// serves it, unless stated otherwise.
type connection struct {
	gateway *Gateway
	net     net.Conn
	heard   *heard       // wraps net for reading
	source  netip.Prefix // the source that the connection counts for before its login
	log     *slog.Logger

	// running is the number of sessions whose end the client has not confirmed. Other goroutines
	// read it.
	running atomic.Int32

	who identity
	// origin describes where the login came from.
	origin schema.Origin
	// reference identifies the connection in messages and log lines: the beginning of the SSH
	// session ID.
	reference string
	// notices are for the next session's banner: requests that were refused before it was opened.
	notices []string
	// noMore is set when the client has forgone further sessions (no-more-sessions@openssh.com),
	// which protects it from a later attacker.
	noMore bool
	// refusals counts the refused requests of the client, including those in its sessions.
	refusals atomic.Int32
}

// loggedRefusals is the maximum number of refusals of one connection that are logged individually.
// A client can send thousands of requests per second.
const loggedRefusals = 20

// serve serves one connection and returns when it is closed and none of its goroutines runs.
func (c *connection) serve(ctx context.Context) {
	defer c.net.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(session.ErrDisconnected)

	admission := c.gateway.admission
	conn, channels, requests, err := c.handshake(ctx)
	if err != nil {
		admission.failed(c.source)
		return
	}
	admission.loggedIn(c.source)
	defer admission.loggedOut()
	defer admission.exit(c.who.grant.User.ID)
	defer conn.Wait() // waits for the goroutines of the SSH library
	defer conn.Close()

	c.log.Info("logged in")
	defer c.logOut()
	over := make(chan struct{})
	var attending sync.WaitGroup
	attending.Go(func() { c.attend(conn, over) }) // ends with over
	c.loop(ctx, conn, channels, requests)
	close(over)
	attending.Wait()
}

// handshake does the key exchange and the login, and sets c.who to the authenticated identity.
func (c *connection) handshake(ctx context.Context) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		tcp.SetNoDelay(true) // echo must not be delayed to batch data
		if err := setUserTimeout(tcp, c.gateway.options.deadline()); err != nil {
			c.log.Debug("TCP_USER_TIMEOUT not set", "error", err) // SSH keepalives work without it
		}
	}
	a := attempt{deadline: c.heard.began.Add(c.gateway.limits().LoginGraceTime)}
	c.net.SetDeadline(a.deadline)
	// The handshake has no context: closing the connection interrupts it.
	interrupted := make(chan struct{})
	resume := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		c.net.Close()
	})
	conn, channels, requests, err := c.agree(&a)
	if !resume() {
		<-interrupted
	}
	if err != nil {
		if a.entered != "" {
			c.gateway.admission.exit(a.entered)
		}
		c.logFailure(ctx, &a, err)
		return nil, nil, nil, err
	}
	c.net.SetDeadline(time.Time{})

	who, ok := whoSigned(conn)
	if !ok {
		c.discard(conn, channels, requests)
		c.log.Error("login without an identity; connection closed")
		if a.entered != "" {
			c.gateway.admission.exit(a.entered)
		}
		return nil, nil, nil, errDenied
	}
	c.who = who
	c.origin = originOf(conn.RemoteAddr(), conn.ClientVersion(), &who)
	c.reference = hex.EncodeToString(conn.SessionID()[:4])
	c.log = c.log.With("connection", c.reference, "app", who.App, "user", who.grant.User.ID, "key", who.fingerprint)
	if cert, ok := who.Key.(*ssh.Certificate); ok {
		c.log = c.log.With("key_id", cut(cert.KeyId), "serial", cert.Serial)
	}
	return conn, channels, requests, nil
}

// agree performs the handshake. A panic in it only ends this connection. Input held back since the
// login is released when it returns.
func (c *connection) agree(a *attempt) (conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, err error) {
	defer c.heard.release()
	defer func() {
		if p := recover(); p != nil {
			c.net.Close()
			c.log.Error("panic in a handshake", "error", p, "stack", string(debug.Stack()))
			err = errCrashed
		}
	}()
	conn, channels, requests, err = ssh.NewServerConn(c.heard, c.login(a))
	if err != nil {
		return nil, nil, nil, err
	}
	inOrder, requestsInOrder, err := inWireOrder(conn)
	if err != nil {
		c.discard(conn, channels, requests)
	}
	return conn, inOrder, requestsInOrder, err
}

// discard closes a connection without answering pending requests.
func (c *connection) discard(conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	conn.Close()
	c.heard.release()
	go ssh.DiscardRequests(requests) // both end when the connection is closed
	for range channels {
	}
}

// errCrashed ends a connection whose handshake panicked.
var errCrashed = errors.New("panic in the handshake")

// logFailure logs why a connection ends without a login, and penalizes its source.
func (c *connection) logFailure(ctx context.Context, a *attempt, err error) {
	if ctx.Err() != nil {
		c.log.Debug("connection closed before login", "error", context.Cause(ctx))
		return
	}
	o := notTried
	switch {
	case errors.Is(err, errCrashed):
		o = crashed
	case !time.Now().Before(a.deadline):
		o = graceExceeded
	case a.tried:
		o = authFailed
	}
	report := func(level slog.Level, first int, message, reason string, args ...any) {
		c.gateway.refusals.report(c.log, level, first, refusalKind{c.source, message, reason}, args...)
	}
	switch {
	case o == graceExceeded:
		report(slog.LevelInfo, 1, "login timed out", "", "after", time.Since(c.heard.began).Round(time.Second), "tried", a.tried)
	case a.full:
		report(slog.LevelWarn, 1, "connection refused", refusedUser, "app", cut(a.app), "user", a.user)
		return // the key was valid
	case a.app != "":
		report(slog.LevelWarn, loggedLogins, "login refused", "", "app", cut(a.app), "keys", a.refused)
	case errors.Is(err, io.EOF): // a port scan, or a user who does not trust the host key
		report(slog.LevelDebug, 1, "connection closed before login", "the client left")
	default:
		report(slog.LevelInfo, 1, "handshake failed", "", "error", cut(err.Error()))
	}
	if c.gateway.admission.punish(c.net.RemoteAddr(), c.source, o) {
		report(slog.LevelWarn, 1, "connections refused for a time", "penalty: "+string(o), "source", sourceName(c.source))
	}
}

// loggedLogins is the maximum number of refused logins of one source that are logged individually
// in an interval, with the keys.
const loggedLogins = 10

// logRefusal logs that a request of the client is refused.
func (c *connection) logRefusal(args ...any) {
	if c.refusals.Add(1) <= loggedRefusals {
		c.log.Info("refused", args...)
	}
}

func (c *connection) logOut() {
	if n := c.refusals.Load(); n > loggedRefusals {
		c.log.Info("refused repeatedly", "count", n)
	}
	c.log.Info("logged out")
}

// loop serves a connection's requests and channel opens until it is closed and its sessions have
// ended. When ctx is done, it closes the connection after the last session.
func (c *connection) loop(ctx context.Context, conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	open := 0
	ended := make(chan struct{}) // receives once for each open
	stop := ctx.Done()
	unused := time.NewTimer(c.gateway.limits().UnusedConnectionTimeout)
	defer unused.Stop()
	for channels != nil {
		select {
		case <-unused.C:
			c.log.Info("connection closed: it had no session for too long")
			conn.Close()
		case req, ok := <-requests:
			if !ok {
				requests = nil
				break
			}
			c.answer(req)
		case opened, ok := <-channels:
			if !ok {
				channels = nil
				break
			}
			ch := c.open(ctx, opened, open)
			if ch == nil {
				break
			}
			open++
			unused.Stop()
			c.running.Add(1)
			go func() { // ends with the channel, which the client or the connection closes
				ch.serve(ctx)
				c.running.Add(-1)
				c.gateway.admission.closeSession(c.who.grant.User.ID)
				ended <- struct{}{}
			}()
		case <-ended:
			if open--; open == 0 {
				unused.Reset(c.gateway.limits().UnusedConnectionTimeout)
			}
			if stop == nil && open == 0 {
				conn.Close()
			}
		case <-stop:
			stop = nil
			if open == 0 {
				conn.Close()
			}
		}
	}
	for range open {
		<-ended
	}
	if requests != nil {
		for range requests { // closed after channels
		}
	}
}

// answer answers a global request (RFC 4254 §4). keepalive@openssh.com only needs any answer.
func (c *connection) answer(req *ssh.Request) {
	ok := false
	switch req.Type {
	case "tcpip-forward", "streamlocal-forward@openssh.com":
		c.logRefusal("request", req.Type)
		c.notices = notice(c.notices, noForwarding)
	case "no-more-sessions@openssh.com":
		c.noMore, ok = true, true
	}
	req.Reply(ok, nil)
}

// Messages to users, without a full stop because a client may put them after a colon.
const (
	noForwarding = "port forwarding is refused: only recorded sessions are possible here"
	noAgent      = "agent forwarding is refused: only recorded sessions are possible here"
	noX11        = "X11 forwarding is refused: only recorded sessions are possible here"
	noTunnel     = "tunnels are refused: only recorded sessions are possible here"
	noSubsystem  = "file transfer and other subsystems are refused: only recorded sessions are possible here"
	stopping     = "the gateway is stopping: connect again in a moment"
)

// notice adds a line once.
func notice(notices []string, line string) []string {
	if slices.Contains(notices, line) {
		return notices
	}
	return append(notices, line)
}

// open accepts a "session" channel, or rejects the channel and returns nil; open is the number of
// open ones.
func (c *connection) open(ctx context.Context, opened ssh.NewChannel, open int) *channel {
	reason, message := c.forbids(ctx, opened.ChannelType(), open)
	if reason != 0 {
		kind := opened.ChannelType()
		c.logRefusal("channel", kind[:min(len(kind), 64)], "reason", message)
		opened.Reject(reason, message)
		return nil
	}
	sshChannel, requests, err := opened.Accept()
	if err != nil {
		c.log.Debug("channel not opened", "error", err)
		c.gateway.admission.closeSession(c.who.grant.User.ID)
		return nil
	}
	ch := newChannel(c, sshChannel, requests, c.notices)
	c.notices = nil
	return ch
}

// forbids returns the reason why a channel cannot be opened; 0 if it can, and it is then counted as
// a session of the user.
func (c *connection) forbids(ctx context.Context, kind string, open int) (ssh.RejectionReason, string) {
	switch kind {
	case "session":
	case "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com":
		return ssh.Prohibited, noForwarding
	case "x11":
		return ssh.Prohibited, noX11
	case "auth-agent@openssh.com", "auth-agent":
		return ssh.Prohibited, noAgent
	case "tun@openssh.com":
		return ssh.Prohibited, noTunnel
	default:
		return ssh.UnknownChannelType, "this kind of channel is unknown: only recorded sessions are possible here"
	}
	switch {
	case ctx.Err() != nil:
		return ssh.ResourceShortage, stopping
	case c.noMore:
		return ssh.Prohibited, "the client asked for no more sessions on this connection"
	case open >= c.gateway.limits().MaxSessions:
		return ssh.ResourceShortage, "too many sessions on this connection: end one, or open another connection"
	case !c.gateway.admission.openSession(c.who.grant.User.ID):
		return ssh.ResourceShortage, "you have as many sessions as a user may have at a time: end one"
	}
	return 0, ""
}
