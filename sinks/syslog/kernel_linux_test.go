package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestRestartDuringWrite: the server is killed with the batch half read.
func TestRestartDuringWrite(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing})
			defer sink.Close()
			write(t, sink, numbered(1, 1, 50))
			holds(t, drain, 1)
			// More than the buffers of both kernels take, to a server that does not read.
			drain.Signal(t, syscall.SIGSTOP)
			conn := sink.conn
			done := make(chan error, 1)
			batch := numbered(2, 1000, 16<<10)
			go func() { done <- sink.Write(t.Context(), batch) }() // ends when the server is killed
			for onItsWay := 0; onItsWay == 0; runtime.Gosched() {
				u, err := outstanding(conn.counted.raw)
				if err != nil {
					t.Fatal(err)
				}
				onItsWay = u.unacknowledged
			}
			drain.Kill(t)
			checkVerdict(t, <-done, sinks.Retry, "")
			drain.Start(t)
			write(t, sink, batch)
			holds(t, drain, 1001)
		})
	}
}

// TestKilledBeforeReading: a batch that the server's kernel has acknowledged and the server never
// read is sent again, in front of the next one.
func TestKilledBeforeReading(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing})
			defer sink.Close()
			write(t, sink, numbered(1, 1, 50))
			holds(t, drain, 1)
			drain.Signal(t, syscall.SIGSTOP)
			write(t, sink, numbered(2, 3, 50))
			write(t, sink, numbered(5, 1, 50))
			drain.Kill(t)
			checkVerdict(t, sink.Write(t.Context(), numbered(6, 1, 50)), sinks.Retry, "")
			drain.Start(t)
			write(t, sink, numbered(6, 1, 50))
			holds(t, drain, 6)
		})
	}
}

// TestNeverReads: a peer accepts the connection and reads nothing. The stall is noticed by the sink
// or by the kernel (TCP_USER_TIMEOUT), whichever is faster: the error is the same.
func TestNeverReads(t *testing.T) {
	address, o := listen(t, 4<<10, func(conn *tls.Conn) { conn.Handshake() })
	sink := open(t, Options{Address: address, TLS: o, Timeout: time.Second})
	defer sink.Close()
	batch := numbered(1, 100, 16<<10)
	err := sink.Write(t.Context(), batch)
	checkVerdict(t, err, sinks.Retry, "given up before the drain had confirmed")
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errSlow) {
		t.Errorf("got %v, want the timeout", err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	stopping := errors.New("the drain was paused")
	cancel(stopping)
	if err := sink.Write(ctx, batch); !errors.Is(err, context.Canceled) || !errors.Is(err, stopping) {
		t.Errorf("got %v, want the cause of the end", err)
	}
}

// TestKernelTimeout: when the kernel gives the connection up, a write gets the error and the reader
// sees an end of file, or the reader gets the error. It is the drain that was slow, in both cases.
func TestKernelTimeout(t *testing.T) {
	timeout := func(op string) error {
		return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.ETIMEDOUT)}
	}
	for name, test := range map[string]struct{ reader, writer error }{
		"by a write":    {io.EOF, timeout("write")},
		"by the reader": {timeout("read"), net.ErrClosed},
	} {
		c := &connection{doing: "write to a drain", ended: make(chan struct{}), err: test.reader}
		close(c.ended)
		failure := c.failure(t.Context(), test.writer)
		checkVerdict(t, failure, sinks.Retry, "given up before the drain had confirmed")
		if !stalled(failure) || !errors.Is(failure, errSlow) {
			t.Errorf("%s: got %v, want the timeout", name, failure)
		}
	}
}
