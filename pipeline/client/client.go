package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// Options configure a connection. Address, User, Signers and HostKey are required.
type Options struct {
	Address string // host:port
	User    string // the app
	// Signers are the keys to authenticate with, in the order in which they are tried. Keys that
	// fail to sign are skipped.
	Signers []ssh.Signer
	// HostKey verifies the server's key. It may be called again during the connection, when the
	// keys are exchanged again.
	HostKey ssh.HostKeyCallback
	// HostKeyAlgorithms are the accepted host key algorithms, in order of preference; nil for the
	// default of package ssh. See [KnownHosts.Algorithms].
	HostKeyAlgorithms []string
	// Banner receives the server's banner (RFC 4252 §5.4) without control characters; nil discards
	// it.
	Banner io.Writer
	// Timeout bounds the time until the server has presented its host key; 30 s by default.
	// Afterwards the user may have to type a passphrase, and only the context of Dial bounds the
	// time.
	Timeout time.Duration
}

// ErrLogin is wrapped by Dial's error if the server refused the login.
var ErrLogin = errors.New("login refused")

// Client is an authenticated connection. It is safe for concurrent use.
type Client struct {
	ssh *ssh.Client
}

// Dial connects and authenticates. If ctx is done first, Dial closes the connection and returns an
// error that wraps the context's cause. Later, ctx has no effect on the connection.
//
// Errors of Options.HostKey are wrapped, and refused logins wrap [ErrLogin]. All other errors mean
// that the server cannot be reached or does not speak SSH.
func Dial(ctx context.Context, o Options) (*Client, error) {
	switch {
	case o.User == "":
		return nil, errors.New("no user name: set it to the name of the app")
	case len(o.Signers) == 0:
		return nil, ErrNoIdentity
	case o.HostKey == nil:
		return nil, errors.New("no host key verification: set Options.HostKey")
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	dialer := net.Dialer{
		Timeout: o.Timeout,
		// A gateway that disappears is detected within about a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	conn, err := dialer.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to %s: %w", o.Address, err)
	}
	conn.SetDeadline(time.Now().Add(o.Timeout)) // like the other calls, fails only if the connection is closed

	// The handshake has no context. Closing the connection aborts it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	login := login{options: o, conn: conn}
	c, channels, requests, err := ssh.NewClientConn(conn, o.Address, login.config())
	if !stop() {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", o.Address, context.Cause(ctx))
	}
	if err != nil {
		return nil, login.explain(err)
	}
	return &Client{ssh: ssh.NewClient(c, channels, requests)}, nil
}

// login is one handshake. The goroutines of package ssh write its fields, one after the other; Dial
// reads them after the handshake has failed.
type login struct {
	options Options
	conn    net.Conn
	trusted bool // the host key was accepted
	tried   int  // number of keys that were tried
}

func (l *login) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:              l.options.User,
		ClientVersion:     "SSH-2.0-ttydrain",
		HostKeyAlgorithms: l.options.HostKeyAlgorithms,
		HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
			l.conn.SetDeadline(time.Time{})
			err := l.options.HostKey(address, remote, key)
			l.trusted = err == nil
			return err
		},
		// One method for each key: package ssh abandons a method at the first key that cannot sign.
		AuthCallback: func(server *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			if l.tried == len(l.options.Signers) || !slices.Contains(server.AllowedMethods, "publickey") {
				return nil, nil
			}
			l.tried++
			return ssh.PublicKeys(l.options.Signers[l.tried-1]), nil
		},
		BannerCallback: func(message string) error {
			if l.options.Banner == nil {
				return nil
			}
			_, err := fmt.Fprintln(l.options.Banner, strings.TrimRight(Printable(message), "\n"))
			return err
		},
	}
}

// explain describes the error of a failed handshake.
func (l *login) explain(err error) error {
	text := err.Error()
	switch {
	// Package ssh has no error types for these cases: no authentication method is left, or the
	// server disconnected after too many keys.
	case l.trusted && (strings.Contains(text, "unable to authenticate") || l.tried > 0 && strings.Contains(text, "ssh: disconnect")):
		var keys []string
		for _, s := range l.options.Signers[:l.tried] {
			keys = append(keys, ssh.FingerprintSHA256(s.PublicKey()))
		}
		return fmt.Errorf("%w by %s for %q with %d keys (%s): %w", ErrLogin, l.options.Address, l.options.User,
			len(keys), strings.Join(keys, ", "), err)
	case errors.Is(err, io.EOF):
		err = errors.New("the server closed the connection during the handshake")
	}
	return fmt.Errorf("connect to %s: %w", l.options.Address, err)
}

// Close closes the connection and thereby all running sessions.
func (c *Client) Close() error {
	if err := c.ssh.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("close the connection: %w", err)
	}
	return nil
}

// Printable returns external text in a form that is safe for a terminal: hidden characters, such as
// control characters and those that change the direction of text, become question marks. Newlines,
// tabs and the joiners of emoji and some scripts are kept.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if schema.IsHidden(r) && r != '\n' && r != '\t' && !schema.IsJoiner(r) {
			return '?'
		}
		return r
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}
