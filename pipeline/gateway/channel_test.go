package gateway

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"
)

// stuckChannel is a client's channel whose window always stays 0, which the client of the SSH
// library cannot simulate.
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

// unserved returns a gateway whose connections the test creates.
func unserved(o Options) *Gateway {
	log := slog.New(slog.DiscardHandler)
	return &Gateway{options: o, log: log, admission: newAdmission(DefaultLimits(), nil), refusals: newRefusalLog(log)}
}

// TestClientWithoutWindow: the requests of a client that reads nothing are processed nevertheless.
// Otherwise the connection would not be read any more, and not even its end would be noticed.
func TestClientWithoutWindow(t *testing.T) {
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
			for range 100 { // the bubble fails the test if it is never received
				requests <- &ssh.Request{Type: "window-change"}
			}
			// The library does the same when the connection ends.
			close(closed)
			close(requests)
			<-served
			cancel()
		})
	}
}
