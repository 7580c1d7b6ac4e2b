// Package trail records the audit trail: which operator did what with sessions, drains and dead
// letters. The events are in the stream AUDIT, each on the subject of its kind.
//
// An event has the names of operators, drains and apps, and IDs of sessions, but never session
// content.
package trail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// A Kind is what an operator did.
type Kind string

// The kinds of events.
const (
	SessionKill         Kind = "session.kill"
	SessionWatch        Kind = "session.watch"
	SessionReplay       Kind = "session.replay"
	SessionRead         Kind = "session.read"
	RecordsExport       Kind = "records.export"
	DrainPause          Kind = "drain.pause"
	DrainResume         Kind = "drain.resume"
	DrainTest           Kind = "drain.test"
	DrainRewind         Kind = "drain.rewind"
	DeadLetterShow      Kind = "deadletter.show"
	DeadLetterRedeliver Kind = "deadletter.redeliver"
	DeadLetterDiscard   Kind = "deadletter.discard"
	ConsoleLink         Kind = "console.link"
)

const (
	subjectPrefix = "audit." // of the subjects of events; the kind follows
	// publishTimeout bounds how long an action waits for its event to be stored.
	publishTimeout = 10 * time.Second
	// readTimeout bounds how long a list waits for each event.
	readTimeout = 5 * time.Second
)

// How an actor has authenticated.
const (
	ViaToken   = "token"
	ViaConsole = "console"
)

// Kinds returns all kinds of events.
func Kinds() []Kind {
	return []Kind{SessionKill, SessionWatch, SessionReplay, SessionRead, RecordsExport, DrainPause, DrainResume, DrainTest, DrainRewind,
		DeadLetterShow, DeadLetterRedeliver, DeadLetterDiscard, ConsoleLink}
}

// The outcomes of an action.
const (
	// Accepted is the outcome in the event that is stored before the action is taken.
	Accepted = "accepted"
	// Failed is the outcome in a second event, if the action was not taken or has failed.
	Failed = "failed"
)

// An Event is an action of an operator. Empty fields do not apply.
type Event struct {
	// Index is the sequence of the event in the stream.
	Index uint64    `json:"index"`
	Time  time.Time `json:"time"`
	Kind  Kind      `json:"kind"`
	// Actor is the user of the console, or the name that the command line has sent: "the admin
	// token" if it has sent none.
	Actor string `json:"actor"`
	// Via is ViaToken or ViaConsole.
	Via string `json:"via"`
	// From is the address of the caller, "unix socket" for the socket.
	From      string `json:"from"`
	Outcome   string `json:"outcome"`
	Status    int    `json:"status,omitempty"` // the HTTP status of a failure
	Operation string `json:"operation,omitempty"`
	// Operations are the sessions that a kill names.
	Operations []string   `json:"operations,omitempty"`
	User       string     `json:"user,omitempty"`
	App        string     `json:"app,omitempty"`
	Stack      string     `json:"stack,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Drain      string     `json:"drain,omitempty"`
	To         *time.Time `json:"to,omitempty"` // of a rewind
	DeadLetter string     `json:"dead_letter,omitempty"`
}

// A Trail is the audit trail on a bus.
type Trail struct{ Bus *bus.Bus }

// Publish stores an event, whose Index and Time it sets, and returns when it is durable.
func (t *Trail) Publish(ctx context.Context, e *Event) error {
	e.Time = time.Now().UTC().Truncate(time.Microsecond)
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an event of the audit trail: %w", err)
	}
	// The event is stored even if the caller disconnects.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), publishTimeout, errors.New("the stream AUDIT does not answer"))
	defer cancel()
	if e.Index, err = t.Bus.PublishAudit(ctx, subjectPrefix+string(e.Kind), data); err != nil {
		return fmt.Errorf("store an event of the audit trail: %w", err)
	}
	return nil
}

// A Filter selects events. Empty fields match any.
type Filter struct {
	Since, Until time.Time
	Kind         Kind
	Actor        string
	After        uint64 // only events with a greater index
	Limit        int
}

// List returns the selected events, the oldest first.
func (t *Trail) List(ctx context.Context, f Filter) ([]Event, error) {
	events := []Event{}
	end, err := t.Bus.End(ctx, schema.StreamAudit)
	if err != nil || end <= f.After {
		return events, err
	}
	reader, err := t.Bus.Read(ctx, schema.StreamAudit, []string{subjectPrefix + ">"}, f.After)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	if reader.Pending() == 0 { // retention has removed the rest
		return events, nil
	}
	for len(events) < f.Limit {
		m, ok, err := reader.NextWithin(ctx, readTimeout)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errors.New("read the audit trail: the stream AUDIT does not answer: retry")
		}
		var e Event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			return nil, fmt.Errorf("decode event %d of the audit trail: %w", m.Sequence, err)
		}
		e.Index = m.Sequence
		if f.matches(&e) {
			events = append(events, e)
		}
		if m.Sequence >= end || m.Pending == 0 {
			break
		}
	}
	return events, nil
}

// matches reports whether the filter selects an event.
func (f *Filter) matches(e *Event) bool {
	return (f.Since.IsZero() || !e.Time.Before(f.Since)) && (f.Until.IsZero() || e.Time.Before(f.Until)) &&
		(f.Kind == "" || e.Kind == f.Kind) && (f.Actor == "" || strings.EqualFold(e.Actor, f.Actor))
}
