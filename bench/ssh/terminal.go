package ssh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Client connects to a server with a user's key.
type Client struct {
	Server *Server
	Signer ssh.Signer
	// From is the address that it connects from; nil for any.
	From net.IP
}

// Dial connects. The cipher is the same for all servers.
func (c *Client) Dial(ctx context.Context) (*ssh.Client, error) {
	config := &ssh.ClientConfig{
		Config: ssh.Config{Ciphers: []string{ssh.CipherAES128GCM}},
		User:   c.Server.User,
		Auth:   []ssh.AuthMethod{ssh.PublicKeys(c.Signer)},
		// The benchmark itself has started the server, on this machine.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Timeout:         10 * time.Second,
	}
	dialer := net.Dialer{Timeout: config.Timeout}
	if c.From != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: c.From}
	}
	conn, err := dialer.DialContext(ctx, "tcp", c.Server.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	secure, channels, requests, err := ssh.NewClientConn(conn, c.Server.Address, config)
	if err != nil {
		stop()
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(secure, channels, requests), nil
}

// A Session is a command in a terminal.
type Session struct {
	Client  *ssh.Client
	session *ssh.Session
	stdin   io.Writer
	stdout  io.Reader
}

// Open starts a command in a terminal and reads until it has printed [ReadyMark].
func (c *Client) Open(ctx context.Context, command string) (_ *Session, err error) {
	t := new(Session)
	if t.Client, err = c.Dial(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.Client.Close()
		}
	}()
	if t.session, err = t.Client.NewSession(); err != nil {
		return nil, err
	}
	if t.stdin, err = t.session.StdinPipe(); err != nil {
		return nil, err
	}
	if t.stdout, err = t.session.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := t.session.RequestPty("xterm-256color", 40, 120, ssh.TerminalModes{}); err != nil {
		return nil, fmt.Errorf("request a terminal: %w", err)
	}
	if err := t.session.Start(command); err != nil {
		return nil, fmt.Errorf("start the command: %w", err)
	}
	var seen []byte
	for one := make([]byte, 1); !bytes.HasSuffix(seen, []byte(ReadyMark)); {
		if _, err := io.ReadFull(t.stdout, one); err != nil {
			return nil, fmt.Errorf("wait for the command: %w; its output:\n%s", err, seen)
		}
		seen = append(seen, one[0])
	}
	return t, nil
}

// Type types a byte every [TypeEvery] from a time on, and compares each echo. It returns the time
// from when each byte was due to its echo: a late echo also delays those after it, as for a real
// user.
func (t *Session) Type(from time.Time, duration time.Duration) (took []time.Duration, err error) {
	answer := make([]byte, 1)
	for due := from; due.Sub(from) < duration; due = due.Add(TypeEvery) {
		time.Sleep(time.Until(due))
		typed := []byte{byte('a' + len(took)%26)}
		if _, err := t.stdin.Write(typed); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(t.stdout, answer); err != nil {
			return nil, err
		}
		if answer[0] != typed[0] {
			return nil, fmt.Errorf("echo %d is %q, expected %q", len(took), answer, typed)
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}
