package gateway

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// A corked connection retains written bytes, to send all of them at once.
type corked struct {
	net.Conn

	mu     sync.Mutex // guards what follows
	on     bool
	kept   []byte
	writes chan struct{} // has an element for each retained write
}

func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	c.writes <- struct{}{}
	return len(p), nil
}

func (c *corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.writes = true, make(chan struct{}, 100)
}

// uncork sends the retained bytes in one write.
func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	_, err := c.Conn.Write(c.kept)
	c.kept = nil
	return err
}

// cork logs in on a connection that can be corked.
func (s *stand) cork(key ssh.Signer) (*ssh.Client, *corked) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	cork := &corked{Conn: c}
	client, err := s.login(cork, "web", key)
	if err != nil {
		s.t.Fatal(err)
	}
	return client, cork
}

// TestWireOrder sends channel opens (o) and no-more-sessions@openssh.com (n) in one packet. As with
// sshd, each open before the request succeeds, and none after it.
func TestWireOrder(t *testing.T) {
	s := serve(t, sessiontest.NewShells(), func(o *Options) { o.Limits.MaxSessions, o.Limits.MaxSessionsPerUser = 50, 10000 })
	for _, sequence := range []string{"on", "no", "ono", "oono", "onoo", "nn", "ooooooooooooooooooooonooooooooooooooooooooo"} {
		for range 30 {
			client, cork := s.cork(s.ada)
			cork.cork()
			opened := make([]error, len(sequence))
			var opens sync.WaitGroup
			for i, kind := range sequence {
				opens.Go(func() {
					if kind == 'n' {
						_, _, opened[i] = client.SendRequest("no-more-sessions@openssh.com", false, nil)
						return
					}
					var requests <-chan *ssh.Request
					if _, requests, opened[i] = client.OpenChannel("session", nil); opened[i] == nil {
						go ssh.DiscardRequests(requests)
					}
				})
				wait(t, cork.writes, "the client's message")
			}
			if err := cork.uncork(); err != nil {
				t.Fatal(err)
			}
			opens.Wait()
			client.Close()
			for i, err := range opened {
				forgone := strings.Contains(sequence[:i], "n")
				switch {
				case sequence[i] == 'n' && err != nil:
					t.Fatalf("%s: %v", sequence, err)
				case sequence[i] == 'o' && !forgone && err != nil:
					t.Fatalf("%s: message %d was sent before the request, and refused: %v", sequence, i, err)
				case sequence[i] == 'o' && forgone && !refusedAs(err, ssh.Prohibited):
					t.Fatalf("%s: message %d was sent after the request: %v", sequence, i, err)
				}
			}
		}
	}
}

func refusedAs(err error, reason ssh.RejectionReason) bool {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	return ok && refused.Reason == reason
}

// TestNoticesInOrder: the banner of a session lists the refusals from before it was opened, and no
// later ones.
func TestNoticesInOrder(t *testing.T) {
	notices := make(chan []string, 2)
	s := serve(t, runs(func(_ context.Context, req session.Request, _ session.IO) (session.Exit, error) {
		notices <- req.Notices
		return session.Exit{}, nil
	}))
	for _, before := range []bool{true, false} {
		for range 30 {
			client, cork := s.cork(s.ada)
			cork.cork()
			forward := func() { client.SendRequest("tcpip-forward", false, nil) }
			if before {
				forward()
			}
			opened := make(chan ssh.Channel, 1)
			go func() { // ends with the response to the open
				ch, requests, err := client.OpenChannel("session", nil)
				if err != nil {
					t.Error(err)
					close(opened)
					return
				}
				go ssh.DiscardRequests(requests)
				opened <- ch
			}()
			wait(t, cork.writes, "the first message")
			if before {
				wait(t, cork.writes, "the second message")
			} else {
				forward()
			}
			if err := cork.uncork(); err != nil {
				t.Fatal(err)
			}
			ch := wait(t, opened, "the session")
			ch.SendRequest("auth-agent-req@openssh.com", false, nil)
			ch.SendRequest("shell", false, nil)
			want := []string{noAgent}
			if before {
				want = []string{noForwarding, noAgent}
			}
			if got := wait(t, notices, "the session's start"); !slices.Equal(got, want) {
				t.Fatalf("forwarding asked for before: %t: notices %q", before, got)
			}
			client.Close()
		}
	}
}
