package session

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/schema"
)

// Killing is the cause of ending a session on an operator's request.
type Killing struct{ By, Because string }

func (k *Killing) Error() string { return "ended by " + k.By }

// sentence returns the message for the session's user.
func (k *Killing) sentence() string {
	if k.Because == "" {
		return "this session was ended by " + k.By
	}
	return "this session was ended by " + k.By + ": " + k.Because
}

// FollowKills ends this gateway's sessions on the requests of operators, until ctx is done.
func (m *Manager) FollowKills(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	// The error is that of ctx.
	_ = backoff.RetryNotify(func() error {
		return m.o.Store.WatchKills(ctx, func(k schema.Kill) { retry.Reset(); m.kill(k) })
	}, backoff.WithContext(retry, ctx), func(err error, wait time.Duration) {
		m.o.Log.Error("watching kill requests failed, retrying", "error", err, "wait", wait)
	})
}

// kill ends a session if it runs on this gateway.
func (m *Manager) kill(k schema.Kill) {
	m.mu.Lock()
	cancel, ok := m.running[k.Operation]
	m.mu.Unlock()
	if ok {
		m.o.Log.Info("ending session on request", "operation", k.Operation, "by", k.By, "because", k.Because)
		cancel(&Killing{k.By, k.Because})
	}
}

// register makes a session killable until the returned function is called.
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
