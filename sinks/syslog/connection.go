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
	// A new connection waits for a sign that the client certificate was accepted. Where the server
	// gives none, it waits three times as long as it took to connect, but within these bounds.
	minAcceptWait = 250 * time.Millisecond
	maxAcceptWait = 2 * time.Second
	// retireWait bounds how long a connection that is not needed any more waits for the drain to end
	// it.
	retireWait = time.Second
	// reasonWait bounds how long a failed write waits for the reader to know why.
	reasonWait = time.Second

	// The kernel is asked for what is unacknowledged at intervals that grow from the first of these
	// to the second: on a local network it takes less than a millisecond.
	firstAsk = 50 * time.Microsecond
	lastAsk  = 10 * time.Millisecond
)

// certificateAccepted is told where the drain has confirmed it.
const certificateAccepted = "the drain has accepted the client certificate"

// errTalks is what a connection ends with when the drain sends data.
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

	// asked says that the drain asked for a client certificate and has not confirmed it in the
	// handshake. It is fixed after the handshake.
	asked bool
	// sent says that the drain asked for a client certificate and got one. It is fixed after the
	// handshake.
	sent bool
	// proven says that a batch was delivered: from then on an end is not for the certificate.
	proven bool
	// ticket is closed when the drain has sent a session ticket.
	ticket chan struct{}
	// ended is closed when the connection cannot be written to any more; err and endedAt, set
	// before, say why and when.
	ended   chan struct{}
	err     error
	endedAt time.Time
}

// connect connects and does the TLS handshake. Host names and TLS files are looked at anew.
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
		return nil, sinks.TransportError(ctx, c.doing, err)
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

// config is the TLS configuration of this connection, which tells it what the drain asks for.
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

// A ticketSignal is a tls.ClientSessionCache that keeps nothing, so that every connection verifies
// the drain's certificate anew, and tells that a session ticket came.
type ticketSignal struct {
	once   sync.Once
	ticket chan struct{}
}

func (s *ticketSignal) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (s *ticketSignal) Put(string, *tls.ClientSessionState)        { s.once.Do(func() { close(s.ticket) }) }

// accepted waits until it is as good as sure that the drain took the client certificate.
//
// In TLS 1.3 the handshake is over for the client before the server has seen its certificate: a
// rejection is an alert that comes afterwards, when a batch could already be on its way. A server
// that accepts sends a session ticket then (RFC 8446 §4.6.1), as rsyslog does. Of one that sends
// neither, such as syslog-ng, it can't be known. A rejection would take about a round trip, of
// which connecting took two or three, so after the limit the connection is believed.
func (c *connection) accepted(ctx context.Context, limit time.Duration) error {
	if !c.asked {
		if !c.sent {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain demands no client certificate, and syslog has nothing else to refuse one who writes"})
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
// end; but without reading nobody would know of alerts, of session tickets, and of a drain that has
// gone.
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

// usable says whether a batch can be written to the connection.
func (c *connection) usable() bool {
	return !c.hasEnded() && time.Now().Before(c.expires)
}

// deliver writes the pieces, none of which is empty, and waits until the drain's kernel has
// acknowledged them. It goes on for as long as there is progress within the timeout. After an
// error, which is an *sinks.Error, the connection is of no more use. Where the progress has
// stalled, confirmed is how many bytes of the pieces are acknowledged, at least, and at when that
// was.
func (c *connection) deliver(ctx context.Context, timeout time.Duration, pieces ...[]byte) (confirmed int, at time.Time, _ *sinks.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The end of ctx is the deadline of the write, and everything else: it closes the connection.
	stop := context.AfterFunc(ctx, func() { c.counted.Close() })
	defer stop()
	p := c.follow(timeout, cancel)
	failure := c.write(ctx, p, pieces)
	confirmed, at = p.end()
	if failure != nil && !stalled(failure) {
		return 0, at, failure // what the server has read of it, nobody knows
	}
	return confirmed, at, failure
}

// stalled reports whether a delivery failed because the drain acknowledged nothing for the timeout.
func stalled(failure *sinks.Error) bool {
	return errors.Is(failure, errSlow) || failure.TimedOut > 0
}

func (c *connection) write(ctx context.Context, p *progress, pieces [][]byte) *sinks.Error {
	// The last byte goes by itself: kernels may put the acknowledgement of a single segment off (RFC
	// 9293 §3.8.6.3; Linux by 40 ms where nothing is answered), and most give it at once when a short
	// one comes behind it.
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

// prove waits until the connection has stayed open for the grace time behind what was sent on it.
func (c *connection) prove(ctx context.Context, grace time.Duration) *sinks.Error {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ended:
		failure := c.failure(ctx, c.err)
		failure.Reached = false // it ended behind everything: the records are not the reason
		return failure
	case <-ctx.Done():
		return c.failure(ctx, ctx.Err())
	}
}

// failure returns the error that the end of the connection means. Where the reader knows the
// reason, it takes precedence over err: a write to a connection that the drain has ended with an
// alert says only "broken pipe". The kernel reports a timeout (TCP_USER_TIMEOUT) once: after a write
// got it, the reader sees an end of file, as if the drain had closed the connection.
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
		// Whatever the alert is, all that the drain can have looked at is the certificate.
		if alert := (*net.OpError)(nil); errors.As(err, &alert) && alert.Op == "remote error" {
			failure.Verdict = sinks.Misconfigured
			failure.Reason, failure.Advice = c.doing+": the drain refuses the client certificate", "set cert_file and key_file to a pair that it accepts"
		} else {
			failure.Advice = "look into the drain's log, since it may refuse the client certificate"
		}
	}
	return failure
}

// refused says what somebody has to know of the end of a connection between two batches: that the
// drain did not want what it got. Most often there is nothing: it was restarted, or ends idle
// connections.
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

// await waits for the reader's end, but not for long, and says whether it came.
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

// retire ends a connection that has nothing on its way: it says so to the drain and lets it close
// first, since closing while the drain reads could take from it what it has not read yet. It says
// whether the drain closed in order: then it has read everything, since a kernel resets a
// connection that is closed with something unread in it (RFC 2525 §2.17).
func (c *connection) retire() (read bool) {
	select {
	case <-c.ended: // before this side said anything
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
