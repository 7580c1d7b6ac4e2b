package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// begin acquires the resources of a session and records its start. It is separate from Run so that
// its variables do not stay on the goroutine's stack for the session's lifetime.
func (m *Manager) begin(ctx context.Context, req Request, client IO) (_ *running, err error) {
	app, ok := m.o.App(req.App)
	if !ok {
		m.o.Metrics.Refuse(RefusedUnavailable)
		return nil, &Refusal{"this app does not exist (any more)"}
	}
	runtime, ok := m.o.Runtimes[app.Runtime]
	if !ok {
		m.o.Metrics.Refuse(RefusedUnavailable)
		m.o.Log.Error("runtime of app is not available", "app", app.Name, "runtime", app.Runtime)
		return nil, &Refusal{fmt.Sprintf("the runtime %q of this app is not available here", app.Runtime)}
	}
	slot, err := m.takeSlot(ctx, app, req.User)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		m.o.Metrics.Refuse(RefusedLimit)
		m.o.Log.Warn("session refused for its stack's session limit", "app", app.Name, "stack", app.Stack, "user", req.User.ID)
		return nil, refusal
	}
	if err != nil {
		m.o.Metrics.unrecordable(err)
		m.o.Log.Error("session refused: sessions cannot be counted", "app", app.Name, "user", req.User.ID, "error", err)
		return nil, notRecordable(err)
	}
	s := &running{app: app, runtime: runtime, req: req, client: client, free: sync.OnceFunc(slot.release)}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.output, err = m.governor.open(app, req.User); err != nil {
		m.o.Metrics.Refuse(RefusedOutput)
		m.o.Log.Warn("session refused for its output limit", "app", app.Name, "stack", app.Stack, "user", req.User.ID)
		return nil, err
	}
	op, err := m.operation(ctx, app, req)
	if err != nil {
		m.o.Metrics.unrecordable(err)
		m.o.Log.Error("session refused: it cannot be recorded", "app", app.Name, "user", req.User.ID, "error", err)
		return nil, notRecordable(err)
	}
	s.op, s.log = op, m.o.Log.With("operation", op.ID, "connection", req.Connection, "app", op.App, "user", op.User.ID)
	ctx, s.cancel = context.WithDeadlineCause(ctx, op.Expires, ErrExpired)
	s.ctx, s.kill = context.WithCancelCause(ctx)
	s.forget = m.register(op.ID, s.kill)
	s.output.end = s.kill
	s.state = &schema.Session{Operation: op, Gateway: m.o.Gateway}
	if err := m.o.Store.SaveSession(s.ctx, s.state); err != nil {
		m.o.Metrics.unrecordable(err)
		s.log.Error("session refused: it cannot be recorded", "error", err)
		m.deferEnd(s.state, ReasonNotRecorded) // the write may have succeeded all the same
		return nil, notRecordable(err)
	}
	s.capture = newCapture(s.ctx, m.o.Publisher, m.o.Subject(op), op.ID, client.Stdout, client.Stderr, m.o.Metrics, &m.buffers, s.output)
	slot.begin(op.ID, s.capture.total)
	s.log.Info("session started", "interactive", op.Interactive, "command", op.Command != "")
	m.o.Metrics.started.Inc()
	m.o.Metrics.running.Inc()
	return s, nil
}

func notRecordable(err error) *Refusal {
	if errors.Is(err, ErrFull) {
		return &Refusal{"this session was not started: there is no room left to record it; its operators have to make room, then try again"}
	}
	return &Refusal{"this session can't be recorded now, so it was not started: try again in a minute"}
}

// operation records who opens a session on what.
func (m *Manager) operation(ctx context.Context, app App, req Request) (*schema.Operation, error) {
	document, err := m.o.Document(req.User)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	op := &schema.Operation{
		Stack: app.Stack, App: app.Name, AppID: app.ID, Service: app.Service, Layer: "app", Host: m.o.Host,
		User: req.User, UserDocument: document, Command: req.Command, Interactive: req.Terminal != nil, Origin: req.Origin,
		Started: now, Expires: now.Add(min(app.Duration, SessionDurationLimit)), PHI: app.PHI,
	}
	if len(op.Command) > maxCommand {
		op.Command = strings.ToValidUTF8(op.Command[:maxCommand], "") + "…"
	}
	if req.Terminal != nil {
		op.Width, op.Height = req.Terminal.Size.Width, req.Terminal.Size.Height
	}
	if err := m.o.Store.CreateOperation(ctx, op); err != nil {
		return nil, err
	}
	op.Container = containerName(op)
	return op, nil
}

// containerName returns the host name of the session, at most 63 bytes (RFC 1123 §2.1): a long app
// name is cut.
func containerName(op *schema.Operation) string {
	return op.App[:min(len(op.App), max(0, 63-1-len(op.ID)))] + "-" + op.ID
}
