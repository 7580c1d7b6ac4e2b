package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

const (
	// A new connection waits for a sign that the client certificate was accepted. If the server
	// sends none, it waits three times as long as connecting took, within these bounds.
	minAcceptWait = 250 * time.Millisecond
	maxAcceptWait = 2 * time.Second
	// retireWait bounds the wait for the drain to end a connection that is no longer needed.
	retireWait = time.Second
	// reasonWait bounds the wait of a failed write for the reader's error, which is more precise.
	reasonWait = time.Second

	// The kernel is asked for unacknowledged bytes at intervals that grow from firstAsk to lastAsk:
	// on a local network it takes less than a millisecond.
	firstAsk = 50 * time.Microsecond
	lastAsk  = 10 * time.Millisecond
)

// certificateAccepted is reported where the drain has confirmed the client certificate.
const certificateAccepted = "the drain has accepted the client certificate"

// errTalks is the error of a connection on which the drain sends data.
var errTalks = errors.New("the drain sent data, which a syslog server never does")

// A connection is one TLS connection to the drain. One goroutine uses it, and one of its own reads.
type connection struct {
	doing   string // for errors
	address string // of the drain
	counted *countedConn
	tls     *tls.Conn
	expires time.Time
	answers *relpAnswers // nil for plain syslog
	next    int          // the next transaction of RELP

	// asked reports that the drain asked for a client certificate and has not confirmed it in the
	// handshake. It is fixed after the handshake.
	asked bool
	// sent reports that the drain asked for a client certificate and received one. It is fixed
	// after the handshake.
	sent bool
	// proven reports that a batch was delivered: from then on, the certificate is not the reason of
	// an end.
	proven bool
	// ticket is closed when the drain has sent a session ticket.
	ticket chan struct{}
	// ended is closed when the connection cannot be written to any more; err and endedAt, which are
	// set before, are the reason and the time.
	ended   chan struct{}
	err     error
	endedAt time.Time
}

// connect connects and does the TLS handshake. It resolves the host name and reads the TLS files
// again.
func connect(ctx context.Context, o Options, lifetime time.Duration) (*connection, error) {
	c := &connection{
		doing:   "connect to " + o.Address,
		address: o.Address,
		expires: time.Now().Add(lifetime),
		ticket:  make(chan struct{}),
		ended:   make(chan struct{}),
	}
	config, err := c.config(o)
	if err != nil {
		return nil, &sinks.Error{Verdict: sinks.Misconfigured, Reason: c.doing, Err: err}
	}
	ctx = probe.From(ctx).Connect(ctx, o.Address, true)
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4},
		ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			return setLimits(raw, o.Timeout)
		},
	}
	began := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, sinks.TransportError(ctx, c.doing, err)
	}
	c.counted = &countedConn{TCPConn: conn.(*net.TCPConn), answered: o.Protocol == RELP}
	c.counted.raw, err = c.counted.SyscallConn()
	if err != nil {
		c.counted.Close()
		return nil, sinks.TransportError(ctx, c.doing, err)
	}
	c.tls = tls.Client(c.counted, config)
	if err := sinks.Handshake(ctx, c.tls); err != nil {
		c.counted.Close()
		return nil, sinks.TransportError(ctx, c.doing, o.TLS.Explain(err))
	}
	if c.tls.ConnectionState().Version < tls.VersionTLS13 {
		if c.sent {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: certificateAccepted})
		}
		c.asked = false // before TLS 1.3 the handshake ends only when the certificate was accepted
	}
	if o.Protocol == RELP {
		c.answers = newRELPAnswers()
	}
	go c.watch() // until the drain ends the connection, or it is closed here
	if o.Protocol == RELP {
		err = c.openRELP(ctx)
	} else {
		err = c.accepted(ctx, min(max(3*time.Since(began), minAcceptWait), maxAcceptWait))
	}
	if err != nil {
		c.abort()
		return nil, err
	}
	c.doing = "write to " + o.Address
	return c, nil
}

// config returns the TLS configuration of this connection, which notes the drain's request for a
// certificate.
func (c *connection) config(o Options) (*tls.Config, error) {
	config, err := o.TLS.Config()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return nil, fmt.Errorf("address %q is not host:port: %w", o.Address, err)
		}
		config.ServerName = host
	}
	certificate := config.GetClientCertificate
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked = true
		sent, err := certificate(request)
		c.sent = err == nil && len(sent.Certificate) > 0
		return sent, err
	}
	config.ClientSessionCache = &ticketSignal{ticket: c.ticket}
	// A batch is written as a whole: small first records would only cost time.
	config.DynamicRecordSizingDisabled = true
	return config, nil
}

// A ticketSignal is a tls.ClientSessionCache that stores nothing, so that every connection verifies
// the drain's certificate, and signals that a session ticket arrived.
type ticketSignal struct {
	once   sync.Once
	ticket chan struct{}
}

func (s *ticketSignal) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (s *ticketSignal) Put(string, *tls.ClientSessionState)        { s.once.Do(func() { close(s.ticket) }) }

// accepted waits until it is almost certain that the drain accepted the client certificate.
//
// In TLS 1.3 the handshake is over for the client before the server has seen its certificate: a
// rejection is an alert that arrives afterwards, when a batch could already be in flight. A server
// that accepts it sends a session ticket (RFC 8446 §4.6.1), as rsyslog does. Others, such as
// syslog-ng, send neither. A rejection would take about one round trip, and connecting took two or
// three, so after the limit the certificate counts as accepted.
func (c *connection) accepted(ctx context.Context, limit time.Duration) error {
	if !c.asked {
		if !c.sent {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain demands no client certificate, and syslog has no other authentication"})
		}
		return nil
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ticket:
		if c.sent {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: certificateAccepted})
		} else {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain asked for a client certificate, and goes on without one"})
		}
		return nil
	case <-c.ended:
		return c.failure(ctx, c.err)
	case <-timer.C:
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain asked for a client certificate, and has refused nothing so far"})
		return nil
	case <-ctx.Done():
		return c.failure(ctx, ctx.Err())
	}
}

// watch reads until the connection ends. Servers of plain syslog send nothing, so any result is the
// end; but only by reading does this side notice alerts, session tickets, and the end of the
// connection.
func (c *connection) watch() {
	defer close(c.ended)
	var err error
	if c.answers != nil {
		err = c.answers.read(c.tls)
	} else {
		var one [1]byte
		if n, failed := c.tls.Read(one[:]); n > 0 {
			err = errTalks
		} else {
			err = failed
		}
	}
	c.err, c.endedAt = err, time.Now()
}

// hasEnded reports whether the connection ended, by the drain or by a failure.
func (c *connection) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// usable reports whether a batch can be written to the connection.
func (c *connection) usable() bool {
	return !c.hasEnded() && time.Now().Before(c.expires)
}

// deliver writes the pieces, none of which is empty, and waits until the drain's kernel has
// acknowledged them. It goes on for as long as there is progress within the timeout. After an
// error, which is an *sinks.Error, the connection cannot be used again. If the progress has
// stalled, confirmed is the number of bytes of the pieces that are acknowledged, at least, and at
// the time of that.
func (c *connection) deliver(ctx context.Context, timeout time.Duration, pieces ...[]byte) (confirmed int, at time.Time, _ *sinks.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The end of ctx closes the connection, which ends the write.
	stop := context.AfterFunc(ctx, func() { c.counted.Close() })
	defer stop()
	p := c.follow(timeout, cancel)
	failure := c.write(ctx, p, pieces)
	confirmed, at = p.end()
	if failure != nil && !stalled(failure) {
		return 0, at, failure // it is not known what the server has read
	}
	return confirmed, at, failure
}

// stalled reports whether a delivery failed because the drain acknowledged nothing for the timeout.
func stalled(failure *sinks.Error) bool {
	return errors.Is(failure, errSlow) || failure.TimedOut > 0
}

func (c *connection) write(ctx context.Context, p *progress, pieces [][]byte) *sinks.Error {
	// The last byte is sent by itself: kernels may delay the acknowledgement of a single segment
	// (RFC 9293 §3.8.6.3; Linux by 40 ms if nothing is answered), and most send it at once when a
	// short segment follows.
	last := len(pieces) - 1
	end := len(pieces[last]) - 1
	pieces = append(slices.Clone(pieces[:last]), pieces[last][:end], pieces[last][end:])
	for _, data := range pieces {
		if err := p.write(c.tls, data); err != nil {
			c.await(reasonWait)
			return c.failure(ctx, err)
		}
	}
	sinks.Written(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for interval := firstAsk; ; interval = min(2*interval, lastAsk) {
		u, err := outstanding(c.counted.raw)
		switch {
		case err != nil:
			return c.failure(ctx, err)
		case !u.open:
			c.await(reasonWait)
			return c.failure(ctx, net.ErrClosed)
		case u.unacknowledged == 0:
			c.proven = true
			return nil
		}
		timer.Reset(interval)
		select {
		case <-timer.C:
		case <-c.ended:
			return c.failure(ctx, c.err)
		case <-ctx.Done():
			return c.failure(ctx, ctx.Err())
		}
	}
}

// prove waits until the connection has stayed open for the grace time after the last byte sent on
// it.
func (c *connection) prove(ctx context.Context, grace time.Duration) *sinks.Error {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ended:
		failure := c.failure(ctx, c.err)
		failure.Reached = false // it ended after everything was delivered: the records are not the reason
		return failure
	case <-ctx.Done():
		return c.failure(ctx, ctx.Err())
	}
}

// failure returns the error that the end of the connection means. Where the reader knows the
// reason, it takes precedence over err: a write to a connection that the drain has ended with an
// alert says only "broken pipe". The kernel reports a timeout (TCP_USER_TIMEOUT) once: after a
// write got it, the reader sees an end of file, as if the drain had closed the connection.
func (c *connection) failure(ctx context.Context, err error) *sinks.Error {
	select {
	case <-c.ended:
		if !errors.Is(err, syscall.ETIMEDOUT) {
			err = c.err
		}
	default:
	}
	stall := errors.Is(ctx.Err(), context.Canceled) && errors.Is(context.Cause(ctx), errSlow) // and not the caller
	if timeout := ctx.Err() == nil && errors.Is(err, syscall.ETIMEDOUT); stall || timeout {
		return &sinks.Error{Verdict: sinks.Retry, Reason: c.doing + ": given up before the drain had confirmed",
			Advice: "try again, with a longer timeout if it is slow", Err: errSlow}
	}
	if errors.Is(err, errTalks) && ctx.Err() == nil {
		return &sinks.Error{Verdict: sinks.Misconfigured, Reason: c.doing + ": what listens there answers, which a syslog server never does",
			Advice: "correct the address"}
	}
	if errors.Is(err, errNotRELP) && ctx.Err() == nil {
		return &sinks.Error{Verdict: sinks.Misconfigured, Reason: c.doing + ": what listens there does not speak RELP",
			Advice: "correct the address, or set protocol to tcp"}
	}
	failure := sinks.TransportError(ctx, c.doing, err)
	if c.asked && !c.proven && failure.Verdict == sinks.Retry && ctx.Err() == nil {
		// Whatever the alert is, the drain has seen only the certificate.
		if alert := (*net.OpError)(nil); errors.As(err, &alert) && alert.Op == "remote error" {
			failure.Verdict = sinks.Misconfigured
			failure.Reason, failure.Advice = c.doing+": the drain refuses the client certificate", "set cert_file and key_file to a pair that it accepts"
		} else {
			failure.Advice = "look into the drain's log, since it may refuse the client certificate"
		}
	}
	return failure
}

// refused returns an error if the drain ended a connection between two batches because it refused
// what was sent: otherwise the end is ordinary, such as a restart, or the end of an idle
// connection.
func (c *connection) refused(ctx context.Context) error {
	select {
	case <-c.ended:
	default:
		return nil
	}
	if failure := c.failure(ctx, c.err); failure.Verdict == sinks.Misconfigured {
		return failure
	}
	return nil
}

// await waits a limited time for the reader to end, and reports whether it did.
func (c *connection) await(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ended:
		return true
	case <-timer.C:
		return false
	}
}

// retire ends a connection with nothing in flight: it announces the end and lets the drain close
// first, since closing earlier could discard bytes that the drain has not read yet. It reports
// whether the drain closed in order: then it has read everything, since a kernel resets a
// connection that is closed with unread bytes (RFC 2525 §2.17).
func (c *connection) retire() (read bool) {
	select {
	case <-c.ended: // before this side announced the end
	default:
		c.counted.SetWriteDeadline(time.Now().Add(retireWait))
		if c.tls.CloseWrite() == nil && c.counted.CloseWrite() == nil && c.await(retireWait) {
			read = errors.Is(c.err, io.EOF) || errors.Is(c.err, io.ErrUnexpectedEOF)
		}
	}
	c.abort()
	return read
}

// leave ends a connection that nothing is in flight on.
func (c *connection) leave() {
	if c.answers != nil {
		c.closeRELP()
		return
	}
	c.retire()
}

// abort ends the connection at once, and with it the goroutine that reads.
func (c *connection) abort() {
	c.counted.Close()
	<-c.ended
}
