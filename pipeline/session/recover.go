package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxUnfinished limits the sessions in memory whose ends are to be recorded, about a kilobyte
	// each. Those beyond it are recorded at the next start.
	maxUnfinished = 10_000
	// finishTimeout limits each attempt to record all of them.
	finishTimeout = 30 * time.Second
	// drainInterval is the interval between two attempts of Drain.
	drainInterval = 200 * time.Millisecond
)

// unfinished is a session that has ended and whose end is not recorded.
type unfinished struct {
	session *schema.Session
	reason  string    // why it ended, if the stream has no reason
	at      time.Time // when its end was noticed
}

// Recover handles the sessions that this gateway was running when it was killed: it records their
// ends, or leaves them to Tend if that is not possible now. It is called before Run. While the
// store is unavailable it retries, until ctx is done.
func (m *Manager) Recover(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff(backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.RetryNotify(func() error {
		err := m.recoverOnce(ctx)
		if errors.Is(err, schema.ErrCorrupt) || errors.Is(err, schema.ErrVersion) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(retry, ctx), func(err error, wait time.Duration) {
		m.o.Log.Warn("ends of lost sessions not recorded, retrying", "error", err, "wait", wait)
	})
}

func (m *Manager) recoverOnce(ctx context.Context) error {
	all, err := m.o.Store.Sessions(ctx)
	if err != nil {
		return err
	}
	if err := m.freeSlots(ctx); err != nil {
		m.o.Log.Warn("slots of sessions that ended with this gateway not released; they lapse within a minute", "error", err)
	}
	for i := range all {
		if s := &all[i]; s.Gateway == m.o.Gateway && s.Ended.IsZero() {
			m.deferEnd(s, ReasonGatewayLost)
		}
	}
	if err := m.finish(ctx); err != nil {
		m.o.Log.Warn("ends of sessions not recorded, retrying", "error", err)
	}
	return nil
}

// Tend records the ends of sessions that could not be recorded immediately, as soon as possible. It
// returns when ctx is done; Drain, or Recover at the next start, handles the rest.
func (m *Manager) Tend(ctx context.Context) {
	for {
		select {
		case <-m.left:
		case <-ctx.Done():
			return
		}
		retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
		// The error is that of ctx.
		_ = backoff.RetryNotify(func() error { return m.finish(ctx) }, backoff.WithContext(retry, ctx), func(err error, wait time.Duration) {
			m.o.Log.Warn("ends of sessions not recorded, retrying", "error", err, "wait", wait)
		})
	}
}

// Drain records the ends that Tend has not recorded yet, until none is left or ctx is done; it then
// returns the cause of ctx. No session may run any more. Recover handles the rest at the next
// start.
func (m *Manager) Drain(ctx context.Context) error {
	var last error
	err := backoff.Retry(func() error {
		last = m.finish(ctx)
		return last
	}, backoff.WithContext(backoff.NewConstantBackOff(drainInterval), ctx))
	if err != nil {
		return fmt.Errorf("record the ends of sessions: %w", errors.Join(context.Cause(ctx), last))
	}
	return nil
}

// deferEnd queues a session for Tend to record its end.
func (m *Manager) deferEnd(s *schema.Session, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unfinished) >= maxUnfinished {
		m.o.Log.Error("end of session left to the next start: too many others are waiting", "operation", s.Operation.ID)
		return
	}
	m.unfinished[s.Operation.ID] = unfinished{s, reason, time.Now()}
	m.o.Metrics.waiting.Set(float64(len(m.unfinished)))
	select {
	case m.left <- struct{}{}:
	default:
	}
}

// finish tries to record all pending ends. A failure does not stop it from recording the others.
func (m *Manager) finish(ctx context.Context) error {
	m.finishing.Lock()
	defer m.finishing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	m.mu.Lock()
	waiting := make([]unfinished, 0, len(m.unfinished))
	for _, u := range m.unfinished {
		waiting = append(waiting, u)
	}
	m.mu.Unlock()
	var failed []error
	for _, u := range waiting {
		log := m.o.Log.With("operation", u.session.Operation.ID, "app", u.session.Operation.App, "user", u.session.Operation.User.ID)
		err := m.end(ctx, u)
		switch {
		case errors.Is(err, schema.ErrCorrupt): // retrying would not help
			log.Error("session stays without an end: its chunks are corrupt", "error", err)
		case err != nil:
			failed = append(failed, fmt.Errorf("record the end of session %s: %w", u.session.Operation.ID, err))
			if errors.Is(err, ErrFull) { // the others would fail, too
				return errors.Join(failed...)
			}
			continue
		default:
			log.Warn("end of session recorded late", "reason", u.session.Reason)
			if u.reason == ReasonGatewayLost { // the others were counted when they ended
				m.o.Metrics.ended.WithLabelValues(u.session.Reason).Inc()
			}
		}
		m.mu.Lock()
		delete(m.unfinished, u.session.Operation.ID)
		m.o.Metrics.waiting.Set(float64(len(m.unfinished)))
		m.mu.Unlock()
	}
	return errors.Join(failed...)
}

// end records the end of a session after all of its chunks on the stream.
func (m *Manager) end(ctx context.Context, u unfinished) error {
	s := u.session
	subject := m.o.Subject(s.Operation)
	// A chunk that was refused at first is stored after later ones: the last message is not always
	// the latest chunk.
	var latest schema.Chunk
	var last uint64 // sequence on the stream
	var ended *schema.Detail
	err := m.o.Store.LastChunks(ctx, subject, func(sequence uint64, data []byte) error {
		var c schema.Chunk
		if err := schema.DecodeChunk(data, &c); err != nil {
			return err
		}
		if last == 0 || c.Ordinal > latest.Ordinal {
			latest = c
		}
		last = sequence
		for _, f := range c.Frames {
			if f.Kind == schema.FrameEnd {
				ended = new(schema.Detail)
				if err := json.Unmarshal(f.Payload, ended); err != nil {
					return fmt.Errorf("decode the end: %w", schema.ErrCorrupt)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var next schema.Chunk
	if last > 0 {
		next = following(&latest)
	} else {
		start, err := schema.StartFrame(s.Operation.Started, s.Operation)
		if err != nil {
			return err
		}
		next.Frames = append(next.Frames, start)
	}
	state := *s
	state.Ended, state.Reason, state.Bytes = u.at.UTC(), u.reason, next.Offset[0]+next.Offset[1]
	if ended != nil {
		state.Reason, state.ExitStatus, state.EndedBy, state.EndedBecause = ended.Reason, ended.ExitStatus, ended.EndedBy, ended.EndedBecause
	} else {
		end, err := schema.DetailFrame(schema.FrameEnd, u.at, &schema.Detail{Reason: u.reason})
		if err != nil {
			return err
		}
		next.Frames = append(next.Frames, end)
		// A chunk that is still in flight would invalidate this one, so nothing may be stored in
		// between.
		if err := m.o.Publisher.PublishEnd(subject, last, schema.AppendChunk(nil, &next)).Wait(ctx); err != nil {
			return err
		}
	}
	if err := m.o.Store.SaveSession(ctx, &state); err != nil {
		return err
	}
	*s = state
	return nil
}

// following returns the chunk that follows another, without frames.
func following(c *schema.Chunk) (next schema.Chunk) {
	next.Ordinal, next.Offset, next.Events = c.Ordinal+1, c.Offset, c.Events
	for _, f := range c.Frames {
		if f.Kind.IsOutput() {
			next.Offset[f.Kind.Stream()] += uint64(len(f.Payload))
		} else {
			next.Events++
		}
	}
	return next
}
