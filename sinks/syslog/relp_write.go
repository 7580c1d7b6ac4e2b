package syslog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// relpWindow is the maximum number of unanswered frames, and so of frames that arrive twice after a
// failure.
const relpWindow = 1024

// stepRELP is the step of a connectivity check that only RELP has: the opening of the session.
const stepRELP = "RELP"

// openRELP opens the session of a new connection: the first transaction.
func (c *connection) openRELP(ctx context.Context) error {
	began := time.Now()
	failure := c.offerRELP(ctx)
	step := probe.Step{Name: stepRELP, Peer: c.address, Result: probe.ResultOK, Milliseconds: float64(time.Since(began).Microseconds()) / 1000}
	if failure != nil {
		if alert := (*net.OpError)(nil); !errors.As(failure, &alert) || alert.Op != "remote error" { // else TLS failed
			step.Result = probe.ResultFailed
			step.Problem, step.Do = failure.Reason, failure.Advice
			probe.From(ctx).Report(step)
		}
		return failure
	}
	step.Facts = []string{"the drain speaks RELP and takes syslog"}
	if software := c.answers.offers("relp_software"); software != "" {
		step.Facts = append(step.Facts, "its software is "+software[:min(len(software), 100)])
	}
	probe.From(ctx).Report(step)
	switch {
	case c.sent && c.asked:
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: certificateAccepted})
	case c.asked:
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain asked for a client certificate, and goes on without one"})
	case !c.sent:
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain demands no client certificate, and RELP has no other authentication"})
	}
	return nil
}

func (c *connection) offerRELP(ctx context.Context) *sinks.Error {
	c.next = 2
	c.answers.sending(1)
	var refused int
	var failure *sinks.Error
	if _, err := c.tls.Write(appendFrame(nil, 1, "open", relpOffer)); err != nil {
		c.await(reasonWait)
		failure = c.failure(ctx, err)
	} else {
		_, refused, failure = c.answer(ctx, 0)
	}
	if failure != nil {
		slow := errors.Is(context.Cause(ctx), errConnect)
		if failure.Verdict == sinks.Retry && (slow || ctx.Err() == nil) {
			failure.Reason = c.doing + ": the drain does not answer the opening of a RELP session"
			failure.Advice = "look whether it takes RELP there, or set protocol to tcp"
			if c.asked {
				failure.Advice = "look into the drain's log, since it may refuse the client certificate, or set protocol to tcp if it takes no RELP there"
			}
		}
		return failure
	}
	if commands := c.answers.offers("commands"); refused != 0 || !strings.Contains(","+commands+",", ",syslog,") {
		return &sinks.Error{Verdict: sinks.Misconfigured, Advice: "correct its settings",
			Reason: fmt.Sprintf("%s: the drain answered %d to the opening of a RELP session, and does not offer to take syslog", c.doing, cmp.Or(refused, 200))}
	}
	c.proven = true // it has looked at the client certificate
	return nil
}

// answer waits until more than the given number of transactions are answered, or one is refused.
func (c *connection) answer(ctx context.Context, than int) (answered, refused int, _ *sinks.Error) {
	for {
		if answered, refused = c.answers.state(); answered > than || refused != 0 {
			return answered, refused, nil
		}
		select {
		case <-c.answers.changed:
		case <-c.ended:
			if answered, refused = c.answers.state(); answered > than { // it came with the end
				return answered, refused, nil
			}
			return answered, refused, c.failure(ctx, c.err)
		case <-ctx.Done():
			return answered, refused, c.failure(ctx, ctx.Err())
		}
	}
}

// exchange sends frames, whose ends in data are ends, and waits for the answers to all of them, as
// long as answers arrive within the timeout. It returns the number of answered frames, in their
// order. After an error the connection cannot be used again.
func (c *connection) exchange(ctx context.Context, timeout time.Duration, data []byte, ends []int) (int, *sinks.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { c.counted.Close() })
	defer stop()
	first := c.next // the transaction of the first frame
	c.next += len(ends)
	last := first - 1 // the last answered transaction that was seen
	stalled := watchProgress(timeout, cancel, func() bool {
		answered, _ := c.answers.state()
		more := answered > last
		last = answered
		return more
	})
	defer stalled.end()
	answered, sent, from := first-1, 0, 0
	for answered-first+1 < len(ends) {
		until := min(len(ends), answered-first+1+relpWindow)
		if sent < until {
			c.answers.sending(first + until - 1)
			if _, err := c.tls.Write(data[from:ends[until-1]]); err != nil {
				c.await(reasonWait)
				answered, _ = c.answers.state()
				return answered - first + 1, c.failure(ctx, err)
			}
			sent, from = until, ends[until-1]
			if sent == len(ends) {
				sinks.Written(ctx)
			}
		}
		now, refused, failure := c.answer(ctx, answered)
		answered = now
		if refused != 0 {
			failure = &sinks.Error{Verdict: sinks.Retry, Status: refused, Reason: fmt.Sprintf("%s: the drain answered %d to a record", c.doing, refused), Advice: "look into its log"}
		}
		if failure != nil {
			return answered - first + 1, failure
		}
	}
	return len(ends), nil
}

// closeRELP closes the session and the connection. All frames are answered, so nothing can be lost.
func (c *connection) closeRELP() {
	c.counted.SetWriteDeadline(time.Now().Add(retireWait))
	c.answers.sending(c.next)
	if _, err := c.tls.Write(appendFrame(nil, c.next, "close", "")); err == nil {
		c.await(retireWait) // librelp answers and closes
	}
	c.abort()
}

// writeRELP is Write for RELP: a record is delivered when the drain has answered all its messages
// with 200.
func (s *Sink) writeRELP(ctx context.Context, batch []sinks.Entry) error {
	fresh := s.conn == nil || !s.conn.usable() || s.conn.next > maxTransaction-len(batch)*maxParts
	s.batch.transaction = 2
	if !fresh {
		s.batch.transaction = s.conn.next
	}
	data := s.batch.encode(batch)
	if len(data) == 0 {
		return s.batch.refused()
	}
	sinks.Encoded(ctx, s.options.Address)
	if old := s.conn; old != nil && fresh {
		s.conn = nil
		refused := old.refused(ctx)
		old.closeRELP()
		if refused != nil {
			return refused
		}
	}
	if fresh {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	answered, failure := s.conn.exchange(ctx, s.options.Timeout, data, s.batch.frames)
	if failure == nil {
		s.conn.proven = true
		probe.From(ctx).Report(probe.Fact{Step: probe.Acceptance, Text: "the drain has confirmed the record: by RELP, it is responsible for it now"})
		return s.batch.refused()
	}
	s.conn.abort()
	s.conn = nil
	entries := 0
	if answered > 0 {
		entries = s.batch.confirmed(s.batch.frames[answered-1])
	}
	if stalled(failure) {
		failure.TimedOut = len(s.batch.ends) - entries
	}
	return s.batch.unconfirmed(failure, entries)
}
