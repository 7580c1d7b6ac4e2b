package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// dialTLS connects to a drain without a proxy between, or to a proxy that speaks TLS.
func (r *Transport) dialTLS(ctx context.Context, config *tls.Config, network, address string) (net.Conn, error) {
	if r.isProxy(address) {
		return r.dialProxy(ctx, network, address)
	}
	conn, err := r.handshake(ctx, config, network, address)
	if err != nil {
		return nil, err
	}
	return &bodyConn{conn}, nil
}

// handshake connects and does the TLS handshake, as net/http itself does.
func (r *Transport) handshake(ctx context.Context, config *tls.Config, network, address string) (*tls.Conn, error) {
	plain, err := r.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // it was dialled
	}
	config.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn := tls.Client(plain, config)
	if err := Handshake(ctx, conn); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// A bodyConn takes a body in memory as it is. Otherwise net/http makes a buffer of 32 KiB for each
// body, and copies it through that: that was a third of what a router throws away.
type bodyConn struct{ *tls.Conn }

// ReadFrom implements [io.ReaderFrom]. It gets what is left of a body, as an [io.LimitedReader] of
// its length.
func (c *bodyConn) ReadFrom(r io.Reader) (n int64, err error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if body, ok := limited.R.(io.WriterTo); ok {
			n, err = body.WriteTo(&limitedWriter{c.Conn, limited.N})
			limited.N -= n
			return n, err
		}
	}
	return io.Copy(justWriter{c.Conn}, r)
}

// justWriter hides what else a writer can do.
type justWriter struct{ io.Writer }

// A limitedWriter refuses what is more than is left.
type limitedWriter struct {
	to   io.Writer
	left int64
}

func (w *limitedWriter) Write(p []byte) (n int, err error) {
	if int64(len(p)) > w.left {
		return 0, errors.New("a body is longer than its length says")
	}
	n, err = w.to.Write(p)
	w.left -= int64(n)
	return n, err
}
