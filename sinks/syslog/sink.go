package syslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// errSlow is the cause of a context that ends because of Options.Timeout.
var errSlow = errors.New("it or the network is slower than the timeout allows")

// A Sink writes records to a syslog server; see the package's documentation. It is a [sinks.Sink].
type Sink struct {
	options  Options
	lifetime time.Duration // of a connection; the next one looks at the drain's addresses, its certificate and the client's anew
	batch    *batch
	conn     *connection // of Write; nil when there is none
	history  history     // of conn, or of the one before it until there is another
}

// New makes a sink. It reads the TLS files, and connects to nothing: the first Write does.
func New(o Options) (*Sink, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("syslog drain: %w", err)
	}
	if _, err := o.TLS.Config(); err != nil {
		return nil, fmt.Errorf("syslog drain: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	b, err := newBatch(o)
	if err != nil {
		return nil, fmt.Errorf("syslog drain: %w", err)
	}
	return &Sink{options: o, lifetime: sinks.JitteredLifetime(o.ConnectionLifetime), batch: b}, nil
}

// Write implements [sinks.Sink]: nil means that the drain's kernel has acknowledged every byte. An
// error is an *[sinks.Error] about the whole batch: the verdict is Misconfigured where TLS failed for
// a reason that somebody has to remove, otherwise Retry. One whose verdict is TooLarge is about the
// messages that are longer than Options.MaxMessageBytes: all others are delivered.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, errSlow)
	defer cancel()
	data := s.batch.encode(batch)
	if len(data) == 0 {
		return s.batch.refused()
	}
	sinks.Encoded(ctx, s.options.Address)
	if s.conn != nil && !s.conn.usable() {
		if err := s.disconnect(ctx); err != nil {
			return err
		}
	}
	first := s.conn == nil
	var pieces [][]byte // what the connection before may have lost, and the batch
	if first {
		var err error
		s.conn, err = connect(ctx, s.options, s.lifetime)
		if err != nil {
			return err
		}
		pieces = s.history.pieces()
	}
	if err := s.conn.deliver(ctx, append(pieces, data)...); err != nil {
		s.conn.abort()
		if !first { // else the history is of the one before
			s.history.keep(s.conn.endedAt)
		}
		s.conn = nil
		return err
	}
	if first {
		s.history.forget() // sent twice: once more would go on for ever with a server that falls over them
	}
	s.batch.data = s.history.add(data, time.Now())
	sinks.TraceAcceptance(ctx, "the drain's kernel has acknowledged every byte; syslog has no other answer")
	return s.batch.refused()
}

// disconnect ends a connection that is too old or that the drain has ended.
func (s *Sink) disconnect(ctx context.Context) error {
	old := s.conn
	s.conn = nil
	// Most often the drain was restarted, or ends idle connections. But what it answered or
	// alerted tells that it did not want what it got before, which somebody has to know.
	refused := old.refused(ctx)
	if old.retire() {
		s.history.forget()
	} else {
		s.history.keep(old.endedAt)
	}
	return refused
}

// Probe implements [sinks.Sink]: name, TCP, TLS, and whether the client certificate is accepted, as
// far as the drain tells. It does not say whether the drain keeps what it gets.
func (s *Sink) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, errSlow)
	defer cancel()
	c, err := connect(ctx, s.options, s.lifetime)
	if err != nil {
		return err
	}
	c.retire()
	return nil
}

// Close implements [sinks.Sink].
func (s *Sink) Close() error {
	if s.conn != nil {
		s.conn.retire()
		s.conn = nil
	}
	return s.batch.writer.Close()
}
