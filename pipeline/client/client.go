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

// Options say where to connect and as whom. Address, User, Signers and HostKey are required.
type Options struct {
	Address string // host:port
	User    string // the app
	// Signers are the keys to log in with. They are tried in this order; one that fails to sign
	// is passed over.
	Signers []ssh.Signer
	// HostKey decides whether the server is the right one. It may be called again during the
	// connection, when the keys are exchanged anew.
	HostKey ssh.HostKeyCallback
	// HostKeyAlgorithms are the kinds of host key to ask for, the most wanted first; nil for the
	// library's order. See KnownHosts.Algorithms.
	HostKeyAlgorithms []string
	// Banner gets what the server says before the login (RFC 4252 §5.4), without control
	// characters; nil drops it.
	Banner io.Writer
	// Timeout bounds the time until the server has shown its host key; 30 s by default. From there
	// on people may have to type a passphrase, and the context of Dial is the only bound.
	Timeout time.Duration
}

// ErrLogin is wrapped by the error of a login that the server refused.
var ErrLogin = errors.New("login refused")

// A Client is a connection that is logged in. Its methods may be called from many goroutines.
type Client struct {
	ssh *ssh.Client
}

// Dial connects and logs in. When ctx is done before that, the connection is closed and the error
// wraps the context's cause; afterwards ctx is of no importance.
//
// An error of Options.HostKey and one that wraps ErrLogin can be told from the others by errors.As
// and errors.Is: those mean that the server could not be reached or does not speak SSH.
func Dial(ctx context.Context, o Options) (*Client, error) {
	switch {
	case o.User == "":
		return nil, errors.New("no user to log in as: the user name is the app")
	case len(o.Signers) == 0:
		return nil, ErrNoIdentity
	case o.HostKey == nil:
		return nil, errors.New("nothing checks the host key")
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	dialer := net.Dialer{
		Timeout: o.Timeout,
		// A gateway that vanished is noticed within about a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	conn, err := dialer.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to %s: %w", o.Address, err)
	}
	conn.SetDeadline(time.Now().Add(o.Timeout)) // fails only on a closed connection, as do the others

	// The handshake knows no context: closing the connection is what ends it.
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

// A login is one handshake. Its fields are written by the library's goroutines one after the other,
// and read when the handshake has failed.
type login struct {
	options Options
	conn    net.Conn
	trusted bool // the host key is the right one
	tried   int  // how many keys have been tried
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
		// One method for each key: the library gives up a method at the first key that cannot sign.
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

// explain says what a failed handshake means.
func (l *login) explain(err error) error {
	text := err.Error()
	switch {
	// The library has no types for these: that no method is left, and that the server disconnects
	// after so many keys.
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

// Close closes the connection and with it every session that is still running.
func (c *Client) Close() error {
	if err := c.ssh.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("close the connection: %w", err)
	}
	return nil
}

// Printable returns a text from outside as a terminal may show it: hidden characters, such as
// controls and those that change the direction of others, are question marks. Newlines, tabs and
// the joiners of emoji and some scripts stay.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if schema.IsHidden(r) && r != '\n' && r != '\t' && !schema.IsJoiner(r) {
			return '?'
		}
		return r
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}
