package gateway

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// stuckChannel is a client's channel whose window is 0 for ever, which the SSH library's client
// cannot be made to have.
type stuckChannel struct {
	ssh.Channel
	closed chan struct{}
}

func (c stuckChannel) Stderr() io.ReadWriter       { return c }
func (c stuckChannel) Write(p []byte) (int, error) { <-c.closed; return 0, io.EOF }
func (c stuckChannel) CloseWrite() error           { return io.EOF }
func (c stuckChannel) Close() error                { return io.EOF }
func (c stuckChannel) SendRequest(string, bool, []byte) (bool, error) {
	return false, io.EOF
}

// unserved returns a gateway for connections that the test makes itself.
func unserved(o Options) *Gateway {
	log := slog.New(slog.DiscardHandler)
	return &Gateway{options: o, log: log, admission: newAdmission(DefaultLimits(), nil), refusals: newRefusalLog(log)}
}

// TestNoWindow: a client that takes no byte of what it is told has its requests taken all the same.
// If they were not, the connection would read no more, and not even its end would be noticed.
func TestNoWindow(t *testing.T) {
	for _, first := range []string{"subsystem", "stop", "exec"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			requests, closed := make(chan *ssh.Request), make(chan struct{})
			signer, _ := newKey(t)
			conn := &connection{gateway: unserved(Options{Authorizer: people{}}), log: slog.New(slog.DiscardHandler), who: identity{Login: Login{Key: signer.PublicKey()}}}
			c := newChannel(conn, stuckChannel{closed: closed}, requests, nil)
			served := make(chan struct{})
			go func() {
				c.serve(ctx)
				close(served)
			}()
			if first == "stop" {
				cancel()
			} else {
				requests <- &ssh.Request{Type: first}
			}
			for range 100 { // the bubble fails the test if nobody takes one
				requests <- &ssh.Request{Type: "window-change"}
			}
			// As the library does it when the connection ends.
			close(closed)
			close(requests)
			<-served
			cancel()
		})
	}
}

// opening is a session channel that the client opens, with what it asks for on it.
type opening struct {
	ssh.NewChannel
	channel  ssh.Channel
	requests chan *ssh.Request
}

func (o opening) ChannelType() string { return "session" }
func (o opening) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	return o.channel, o.requests, nil
}

// TestNoticesInOrder: what is refused before a session is opened is in its banner, even if the
// gateway finds both waiting at once, which no client can make certain. It does it often, since
// Go picks by chance among what is ready.
func TestNoticesInOrder(t *testing.T) {
	for range 50 {
		started := make(chan session.Request, 1)
		signer, _ := newKey(t)
		g := unserved(Options{Authorizer: people{"": {string(signer.PublicKey().Marshal()): {}}}, Sessions: runs(func(_ context.Context, req session.Request, _ session.IO) (session.Exit, error) {
			started <- req
			return session.Exit{}, nil
		})})
		if err := g.admission.enter(""); err != nil {
			t.Fatal(err)
		}
		conn := &connection{gateway: g, log: slog.New(slog.DiscardHandler), who: identity{Login: Login{Key: signer.PublicKey()}}}
		closed := make(chan struct{})
		close(closed)
		o := opening{channel: stuckChannel{closed: closed}, requests: make(chan *ssh.Request, 2)}
		o.requests <- &ssh.Request{Type: "auth-agent-req@openssh.com"}
		o.requests <- &ssh.Request{Type: "shell"}
		close(o.requests)
		requests, channels := make(chan *ssh.Request, 2), make(chan ssh.NewChannel, 1)
		requests <- &ssh.Request{Type: "tcpip-forward"}
		requests <- &ssh.Request{Type: "tcpip-forward"}
		channels <- o
		close(requests)
		close(channels)
		conn.loop(t.Context(), nil, channels, requests)
		if req := wait(t, started, "the session"); !slices.Equal(req.Notices, []string{noForwarding, noAgent}) {
			t.Fatalf("notices: %q", req.Notices)
		}
	}
}
