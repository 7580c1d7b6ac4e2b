package session

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/schema"
)

// A Killing is the cause with which a session ends that somebody wanted to end.
type Killing struct{ By, Because string }

func (k *Killing) Error() string { return "ended by " + k.By }

// sentence tells the person whose session it is.
func (k *Killing) sentence() string {
	if k.Because == "" {
		return "this session was ended by " + k.By
	}
	return "this session was ended by " + k.By + ": " + k.Because
}

// Obey ends the sessions of this gateway that somebody wants to end, until ctx is done.
func (m *Manager) Obey(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	// The error is that of ctx.
	_ = backoff.RetryNotify(func() error {
		return m.o.Store.WatchKills(ctx, func(k schema.Kill) { retry.Reset(); m.kill(k) })
	}, backoff.WithContext(retry, ctx), func(err error, wait time.Duration) {
		m.o.Log.Error("it is not known which sessions are to be ended, which is tried again", "error", err, "wait", wait)
	})
}

// kill ends a session if this gateway runs it.
func (m *Manager) kill(k schema.Kill) {
	m.mu.Lock()
	cancel, ok := m.running[k.Operation]
	m.mu.Unlock()
	if ok {
		m.o.Log.Info("a session is ended for somebody", "operation", k.Operation, "by", k.By, "because", k.Because)
		cancel(&Killing{k.By, k.Because})
	}
}

// register lets a session be killed until the function that it gives is called.
func (m *Manager) register(operation string, cancel context.CancelCauseFunc) (forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running[operation] = cancel
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.running, operation)
	}
}
