package operate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// The states of a session.
const (
	SessionRunning = "running"
	SessionEnded   = "ended"
	// SessionUnattended is the state of a session that has not ended, and whose gateway has not
	// reported it for about a minute.
	SessionUnattended = "unattended"
)

// A SessionStatus is the status of a session.
type SessionStatus struct {
	Operation   string      `json:"operation_id"`
	State       string      `json:"state"`
	Stack       string      `json:"stack"`
	App         string      `json:"app"`
	User        schema.User `json:"user"`
	Gateway     string      `json:"gateway"`
	Container   string      `json:"container"`
	Command     string      `json:"command,omitempty"`
	Interactive bool        `json:"interactive"`
	schema.Origin
	// PHI means that it may hold protected health information.
	PHI     bool      `json:"phi,omitempty"`
	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	Ended   time.Time `json:"ended,omitzero"`
	// Reason, EndedBy, EndedBecause and ExitStatus are those of the end record.
	Reason       string `json:"reason,omitempty"`
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	ExitStatus   *int   `json:"exit_status,omitempty"`
	// Bytes is the size of its output; while it runs, as of some seconds ago.
	Bytes uint64 `json:"bytes"`
}

// A SessionFilter selects sessions. "" matches any.
type SessionFilter struct {
	App, Stack string
	User       string // an ID or an e-mail address
	Ended      bool   // include ended sessions
	// Since excludes sessions that started earlier, and Until those that did not; zero for none.
	Since, Until time.Time
	// Text has words, each of which must occur, in upper or lower case, in the ID, user, app, stack,
	// gateway, container, command, origin, state or reason, or in who ended the session and why.
	Text string
	// Before is the ID of an operation: only older ones are selected. Limit is their maximum number; 0
	// for all.
	Before string
	Limit  int
}

func (f SessionFilter) matches(s *SessionStatus) bool {
	return f.selects(s) && (f.Before == "" || compareIDs(s.Operation, f.Before) < 0) && hasWords(s, f.Text)
}

// hasWords reports whether each word of a text occurs in the status of a session.
func hasWords(s *SessionStatus, text string) bool {
	words := strings.Fields(strings.ToLower(text))
	if len(words) == 0 {
		return true
	}
	known := strings.ToLower(strings.Join([]string{s.Operation, s.State, s.User.Name, s.User.Email, s.User.ID, s.App, s.Stack, s.Gateway, s.Container,
		s.Command, s.Address, s.Client, s.Key, s.Serial, s.Reason, s.EndedBy, s.EndedBecause}, "\n"))
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(known, word) })
}

func (f SessionFilter) selects(s *SessionStatus) bool {
	return (f.App == "" || s.App == f.App) && (f.Stack == "" || s.Stack == f.Stack) &&
		(f.User == "" || s.User.ID == f.User || strings.EqualFold(s.User.Email, f.User)) &&
		(f.Ended || s.State != SessionEnded) && within(s.Started, f.Since, f.Until)
}

// within reports whether a time is in a range, whose ends may be zero for none.
func within(at, since, until time.Time) bool {
	return !at.Before(since) && (until.IsZero() || at.Before(until))
}

// A SessionOperator lists, watches and ends sessions. Any process can do it, wherever the sessions
// run.
type SessionOperator struct{ Bus *bus.Bus }

// List returns the status of the selected sessions, the newest first.
func (o *SessionOperator) List(ctx context.Context, f SessionFilter) ([]SessionStatus, error) {
	sessions, err := o.Bus.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	slots, err := o.slots(ctx, "")
	if err != nil {
		return nil, err
	}
	list := []SessionStatus{}
	for i := range sessions {
		if sessions[i].Operation == nil {
			continue
		}
		if s := sessionStatus(&sessions[i], slots); f.matches(&s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b SessionStatus) int { return -compareIDs(a.Operation, b.Operation) })
	if f.Limit > 0 && len(list) > f.Limit {
		list = list[:f.Limit]
	}
	return list, nil
}

// compareIDs compares the IDs of two operations, which are increasing numbers.
func compareIDs(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// Show returns the status of one session. The error wraps ErrNotFound if it is unknown.
func (o *SessionOperator) Show(ctx context.Context, operation string) (SessionStatus, error) {
	if _, err := strconv.ParseUint(operation, 10, 64); err != nil {
		return SessionStatus{}, fmt.Errorf("session %q: %w: expected a number, as in the list", operation, ErrNotFound)
	}
	s, err := o.Bus.Session(ctx, operation)
	if err != nil {
		return SessionStatus{}, err
	}
	slots, err := o.slots(ctx, s.Operation.Stack)
	if err != nil {
		return SessionStatus{}, err
	}
	return sessionStatus(&s, slots), nil
}

// slots returns the slots of the sessions that run on a stack, or on all, by operation.
func (o *SessionOperator) slots(ctx context.Context, stack string) (map[string]schema.Slot, error) {
	held, err := o.Bus.Slots(ctx, stack)
	if err != nil {
		return nil, err
	}
	slots := make(map[string]schema.Slot, len(held))
	for _, s := range held {
		slots[s.Operation] = s
	}
	return slots, nil
}

func sessionStatus(s *schema.Session, slots map[string]schema.Slot) SessionStatus {
	op := s.Operation
	status := SessionStatus{Operation: op.ID, State: SessionEnded, Stack: op.Stack, App: op.App, User: op.User, Gateway: s.Gateway, Container: op.Container,
		Command: op.Command, Interactive: op.Interactive, Origin: op.Origin, PHI: op.PHI, Started: op.Started, Expires: op.Expires, Ended: s.Ended, Reason: s.Reason,
		EndedBy: s.EndedBy, EndedBecause: s.EndedBecause, ExitStatus: s.ExitStatus, Bytes: s.Bytes}
	if s.Ended.IsZero() {
		slot, ok := slots[op.ID]
		status.State, status.Bytes = SessionRunning, slot.Bytes
		if !ok && time.Since(op.Started) > bus.SlotTTL { // a new session has no slot yet
			status.State = SessionUnattended
		}
	}
	return status
}
