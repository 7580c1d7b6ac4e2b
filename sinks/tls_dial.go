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

// handshake connects and does the TLS handshake, like net/http.
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

// A bodyConn writes a body in memory directly. Otherwise net/http copies each body through a buffer
// of 32 KiB of its own: a third of a router's garbage.
type bodyConn struct{ *tls.Conn }

// ReadFrom implements [io.ReaderFrom]. r is the rest of a body, as an [io.LimitedReader] of its
// length.
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

// justWriter hides all other methods of a writer.
type justWriter struct{ io.Writer }

// A limitedWriter fails on writes beyond its limit.
type limitedWriter struct {
	to   io.Writer
	left int64
}

func (w *limitedWriter) Write(p []byte) (n int, err error) {
	if int64(len(p)) > w.left {
		return 0, errors.New("a body is longer than its length")
	}
	n, err = w.to.Write(p)
	w.left -= int64(n)
	return n, err
}
