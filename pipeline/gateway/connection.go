package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// A connection is one client's, from its first byte. Its fields belong to the goroutine that serves
// it, but for what is said otherwise.
type connection struct {
	gateway *Gateway
	net     net.Conn
	heard   *heard // the same, for reading
	log     *slog.Logger

	startingUp bool // guarded by the gateway's mu

	// running counts the sessions whose end the client has not confirmed. Others read it.
	running atomic.Int32

	who identity
	// reference tells people which log lines are theirs: the beginning of the SSH session ID.
	reference string
	// notices are for the next session's banner: what was refused before it was opened.
	notices []string
	// noMore says that the client has forgone further sessions (no-more-sessions@openssh.com),
	// which protects it from whoever takes it over later.
	noMore bool
}

// serve does everything for one connection and returns when it is closed and nothing of it runs.
func (c *connection) serve(ctx context.Context) {
	defer c.net.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(session.ErrDisconnected)

	conn, channels, requests, err := c.handshake(ctx)
	if err != nil {
		return
	}
	c.gateway.loggedIn(c)
	defer conn.Wait() // nothing of the SSH library runs on
	defer conn.Close()

	c.log.Info("logged in")
	defer c.log.Info("logged out")
	over := make(chan struct{})
	var attending sync.WaitGroup
	attending.Go(func() { c.attend(conn, over) }) // ends with over
	c.loop(ctx, conn, channels, requests)
	close(over)
	attending.Wait()
}

// handshake agrees on keys and logs the person in. Afterwards c.who is who signed.
func (c *connection) handshake(ctx context.Context) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		tcp.SetNoDelay(true) // an echo must not wait for more to send
		if err := setUserTimeout(tcp, c.gateway.options.deadline()); err != nil {
			c.log.Debug("no TCP_USER_TIMEOUT", "err", err) // the keepalives of SSH do without
		}
	}
	c.net.SetDeadline(time.Now().Add(c.gateway.options.HandshakeTimeout))
	// The handshake knows no context: closing the connection is what ends it.
	interrupted := make(chan struct{})
	resume := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		c.net.Close()
	})
	var a attempt
	conn, channels, requests, err := ssh.NewServerConn(c.heard, c.login(&a))
	if !resume() {
		<-interrupted
	}
	if err != nil {
		c.logFailure(ctx, &a, err)
		return nil, nil, nil, err
	}
	c.net.SetDeadline(time.Time{})

	who, ok := whoSigned(conn)
	if !ok {
		conn.Close()
		go ssh.DiscardRequests(requests) // both end as the connection is closed
		for range channels {
		}
		c.log.Error("login without an identity; connection closed")
		return nil, nil, nil, errDenied
	}
	c.who = who
	c.reference = hex.EncodeToString(conn.SessionID()[:4])
	c.log = c.log.With("connection", c.reference, "app", who.App, "user", who.grant.User.ID, "key", who.fingerprint)
	if cert, ok := who.Key.(*ssh.Certificate); ok {
		c.log = c.log.With("key_id", cut(cert.KeyId), "serial", cert.Serial)
	}
	return conn, channels, requests, nil
}

func (c *connection) logFailure(ctx context.Context, a *attempt, err error) {
	switch {
	case ctx.Err() != nil:
		c.log.Debug("connection closed before login", "reason", context.Cause(ctx))
	case a.app != "":
		c.log.Warn("login refused", "app", cut(a.app), "keys", a.refused)
	case errors.Is(err, io.EOF): // a port scan, or a person who does not trust the host key
		c.log.Debug("connection closed before login", "reason", "the client left")
	default:
		c.log.Info("handshake failed", "err", cut(err.Error()))
	}
}

// loop serves a connection's requests and channel opens until it is closed, and its sessions ended.
// When ctx is done it closes the connection after the last session.
func (c *connection) loop(ctx context.Context, conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	open := 0
	ended := make(chan struct{}) // one receive for each open
	stop := ctx.Done()
	for channels != nil {
		select {
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
			// What the client asked for before it opened the session is in its banner.
			for len(requests) > 0 {
				if req, ok := <-requests; ok {
					c.answer(req)
				}
			}
			ch := c.open(ctx, opened, open)
			if ch == nil {
				break
			}
			open++
			c.running.Add(1)
			go func() { // ends with the channel, by the client or with the connection
				ch.serve(ctx)
				c.running.Add(-1)
				ended <- struct{}{}
			}()
		case <-ended:
			open--
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

// answer answers a global request (RFC 4254 §4). keepalive@openssh.com wants any answer at all.
func (c *connection) answer(req *ssh.Request) {
	ok := false
	switch req.Type {
	case "tcpip-forward", "streamlocal-forward@openssh.com":
		c.log.Info("refused", "request", req.Type)
		c.notices = notice(c.notices, noForwarding)
	case "no-more-sessions@openssh.com":
		c.noMore, ok = true, true
	}
	req.Reply(ok, nil)
}

// Sentences for people, each without a full stop so that a client may put it after a colon.
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

// open accepts a "session" channel, of which open are there already, or rejects the channel and
// returns nil.
func (c *connection) open(ctx context.Context, opened ssh.NewChannel, open int) *channel {
	reason, message := c.forbids(ctx, opened.ChannelType(), open)
	if reason != 0 {
		kind := opened.ChannelType()
		c.log.Info("refused", "channel", kind[:min(len(kind), 64)], "reason", message)
		opened.Reject(reason, message)
		return nil
	}
	sshChannel, requests, err := opened.Accept()
	if err != nil {
		c.log.Debug("channel not opened", "err", err)
		return nil
	}
	ch := newChannel(c, sshChannel, requests, c.notices)
	c.notices = nil
	return ch
}

// forbids says why a channel cannot be opened; 0 if it can.
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
	case open >= c.gateway.options.MaxSessions:
		return ssh.ResourceShortage, "too many sessions on this connection: end one, or open another connection"
	}
	return 0, ""
}
