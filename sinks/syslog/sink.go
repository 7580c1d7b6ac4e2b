package syslog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// errConnect is the cause of a context for connecting that ends because of Options.Timeout.
var errConnect = errors.New("it or the network is slower than the timeout allows")

// errSlow is the cause of the context of a delivery without progress for Options.Timeout.
var errSlow = fmt.Errorf("%w: nothing was confirmed for as long as the timeout allows", context.DeadlineExceeded)

// A Sink writes records to a syslog server; see the package's documentation. It is a [sinks.Sink].
type Sink struct {
	options  Options
	lifetime time.Duration // of a connection; the next one resolves the name and reads the certificates anew
	batch    *batch
	conn     *connection // of Write; nil when there is none
	history  history     // of conn, or of those before it until one has proven itself
	// suspect reports that a connection ended before it had proven itself, and that none has since.
	suspect bool
}

// New makes a sink. It reads the TLS files, and connects to nothing: the first Write does.
func New(o Options) (*Sink, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("syslog drain: %w", err)
	}
	if _, err := o.TLS.Config(); err != nil {
		return nil, fmt.Errorf("syslog drain: %w", err)
	}
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.ConnectionGrace = cmp.Or(o.ConnectionGrace, defaultGrace)
	return &Sink{options: o, lifetime: sinks.JitteredLifetime(o.ConnectionLifetime), batch: newBatch(o), history: history{grace: o.ConnectionGrace}}, nil
}

// Write implements [sinks.Sink]: nil means that the drain's kernel has acknowledged every byte, or
// in RELP that the drain has acknowledged every message. Without entries, it redelivers batches
// that a connection which ended early may have lost. An error is an *[sinks.Error]: the verdict is
// Misconfigured if TLS failed for a reason that an operator has to remove, otherwise Retry. Its
// Items are the entries that were not acknowledged, if the first ones were, in RELP or before the
// drain stalled for the timeout. With the verdict TooLarge, Items are entries whose parts do not
// fit into Options.MaxMessageBytes: all others are delivered.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	switch {
	case len(batch) == 0:
		return s.settle(ctx)
	case s.options.Protocol == RELP:
		return s.writeRELP(ctx, batch)
	}
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
	var pieces [][]byte // the batches that earlier connections may have lost, and this one
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
		pieces = s.history.pieces()
	}
	if failure := s.deliver(ctx, pieces, data); failure != nil {
		return failure
	}
	probe.From(ctx).Report(probe.Fact{Step: probe.Acceptance, Text: "the drain's kernel has acknowledged every byte; syslog has no other answer"})
	return s.batch.refused()
}

// settle redelivers batches that a connection which ended early may have lost.
func (s *Sink) settle(ctx context.Context) error {
	if s.conn != nil && s.conn.answers == nil && s.conn.hasEnded() {
		if err := s.disconnect(ctx); err != nil {
			return err
		}
	}
	if !s.suspect {
		return nil
	}
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	if failure := s.deliver(ctx, s.history.pieces(), nil); failure != nil {
		return failure
	}
	return nil
}

// connect connects within the timeout.
func (s *Sink) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, errConnect)
	defer cancel()
	s.conn, err = connect(ctx, s.options, s.lifetime)
	return err
}

// deliver sends the batches that earlier connections may have lost, if this is the first delivery
// of its connection, and then a batch, which may be empty.
func (s *Sink) deliver(ctx context.Context, again [][]byte, data []byte) *sinks.Error {
	pieces := again
	if len(data) > 0 {
		pieces = append(pieces, data)
	}
	confirmed, at, failure := s.conn.deliver(ctx, s.options.Timeout, pieces...)
	if failure != nil {
		return s.failed(failure, again, data, confirmed, at)
	}
	if len(again) > 0 {
		s.history.resent(time.Now())
	}
	if !s.suspect {
		s.batch.data = s.history.add(data, time.Now())
		return nil
	}
	if failure := s.conn.prove(ctx, s.options.ConnectionGrace); failure != nil {
		s.conn.abort()
		s.conn = nil
		return failure
	}
	s.suspect = false
	s.history.forget()
	return nil
}

// failed ends the connection of a delivery that failed. If the drain has acknowledged a part of the
// batch and then nothing more, the error is about the remaining entries.
func (s *Sink) failed(failure *sinks.Error, again [][]byte, data []byte, confirmed int, at time.Time) *sinks.Error {
	s.conn.abort()
	endedAt := s.conn.endedAt
	s.conn = nil
	for _, piece := range again {
		confirmed -= len(piece)
	}
	entries := 0
	switch {
	case len(again) == 0:
		s.history.keep(endedAt)
	case confirmed >= 0: // otherwise the earlier batches were not sent on this connection
		s.history.resent(at)
		s.history.keep(endedAt)
	}
	if len(data) > 0 {
		entries = s.batch.confirmed(confirmed)
	}
	if entries > 0 {
		s.history.add(bytes.Clone(data[:s.batch.ends[entries-1]]), at)
		s.history.keep(endedAt)
	}
	s.suspect = !s.history.empty()
	if len(data) > 0 && stalled(failure) {
		failure.TimedOut = len(s.batch.ends) - entries
	}
	return s.batch.unconfirmed(failure, entries)
}

// disconnect ends a connection that is too old or that the drain has ended. It returns an error if
// the drain ended it before it had proven itself: then the next connection has to.
func (s *Sink) disconnect(ctx context.Context) error {
	old := s.conn
	s.conn = nil
	// Usually the drain was restarted, or ends idle connections. But a response or an alert means
	// that it refused what was sent, which has to be reported.
	refused := old.refused(ctx)
	ended := old.hasEnded()
	if old.retire() {
		s.history.forget()
	} else {
		s.history.keep(old.endedAt)
	}
	if refused != nil {
		return refused
	}
	if s.suspect = ended && !s.history.empty(); s.suspect {
		return &sinks.Error{Verdict: sinks.Retry, Reason: old.doing + ": the connection ended right behind what was sent on it, which is sent again",
			Advice: "look whether the server runs, behind a load balancer too, and set connection_grace to less than the time after which idle connections are ended"}
	}
	return nil
}

// Probe implements [sinks.Sink]: name, TCP, TLS, and whether the client certificate is accepted, as
// far as the drain shows it. Whether the drain keeps its messages is not known.
func (s *Sink) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, errConnect)
	defer cancel()
	c, err := connect(ctx, s.options, s.lifetime)
	if err != nil {
		return err
	}
	c.leave()
	return nil
}

// Close implements [sinks.Sink].
func (s *Sink) Close() error {
	if s.conn != nil {
		s.conn.leave()
		s.conn = nil
	}
	return nil
}
