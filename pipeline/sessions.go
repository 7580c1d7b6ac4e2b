package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// How a session stands.
const (
	SessionRunning = "running"
	SessionEnded   = "ended"
	// SessionUnattended is one that has not ended, and whose gateway has told nothing of it for about
	// a minute.
	SessionUnattended = "unattended"
)

// A SessionStatus is how a session stands.
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
	// PHI says that it may hold protected health information.
	PHI     bool      `json:"phi,omitempty"`
	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	Ended   time.Time `json:"ended,omitzero"`
	// Reason, EndedBy, EndedBecause and ExitStatus are those of the end record.
	Reason       string `json:"reason,omitempty"`
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	ExitStatus   *int   `json:"exit_status,omitempty"`
	// Bytes is what it has shown; while it runs, some seconds ago.
	Bytes uint64 `json:"bytes"`
}

// A SessionFilter selects sessions; "" stands for any.
type SessionFilter struct {
	App, Stack string
	User       string // an ID or an e-mail address
	Ended      bool   // those that have ended, too
	// Text has words, each of which has to be in what is known of the session, in any case: its ID,
	// its user, app, stack, gateway, container, command, state or reason, or who ended it and why.
	Text string
	// Before is the ID of an operation: only older ones. Limit is how many there are at most; 0 for
	// all.
	Before string
	Limit  int
}

func (f SessionFilter) matches(s *SessionStatus) bool {
	return f.selects(s) && (f.Before == "" || compareIDs(s.Operation, f.Before) < 0) && hasWords(s, f.Text)
}

// hasWords says whether each of the words of a text is in what is known of a session.
func hasWords(s *SessionStatus, text string) bool {
	words := strings.Fields(strings.ToLower(text))
	if len(words) == 0 {
		return true
	}
	known := strings.ToLower(strings.Join([]string{s.Operation, s.State, s.User.Name, s.User.Email, s.User.ID, s.App, s.Stack, s.Gateway, s.Container,
		s.Command, s.Reason, s.EndedBy, s.EndedBecause}, "\n"))
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(known, word) })
}

func (f SessionFilter) selects(s *SessionStatus) bool {
	return (f.App == "" || s.App == f.App) && (f.Stack == "" || s.Stack == f.Stack) &&
		(f.User == "" || s.User.ID == f.User || strings.EqualFold(s.User.Email, f.User)) &&
		(f.Ended || s.State != SessionEnded)
}

// A SessionOperator does with sessions what people want done. Any process can do it, wherever the
// sessions run.
type SessionOperator struct{ Bus *bus.Bus }

// List tells how sessions stand, the newest first.
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

// compareIDs compares two operations' IDs, which are growing numbers.
func compareIDs(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// Show tells how one session stands. ErrNotThere is wrapped where nothing is known of it.
func (o *SessionOperator) Show(ctx context.Context, operation string) (SessionStatus, error) {
	if _, err := strconv.ParseUint(operation, 10, 64); err != nil {
		return SessionStatus{}, fmt.Errorf("session %q: %w: a number is expected, as the list has it", operation, ErrNotThere)
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

// slots are those of the sessions that run on a stack, or on all, by operation.
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
		Command: op.Command, Interactive: op.Interactive, PHI: op.PHI, Started: op.Started, Expires: op.Expires, Ended: s.Ended, Reason: s.Reason,
		EndedBy: s.EndedBy, EndedBecause: s.EndedBecause, ExitStatus: s.ExitStatus, Bytes: s.Bytes}
	if s.Ended.IsZero() {
		slot, ok := slots[op.ID]
		status.State, status.Bytes = SessionRunning, slot.Bytes
		if !ok && time.Since(op.Started) > bus.SlotTTL { // its slot tells nothing of it at first
			status.State = SessionUnattended
		}
	}
	return status
}

// What became of the wish that a session ends.
const (
	KillDone        = "ended"       // it runs no more
	KillLate        = "had ended"   // it had ended before
	KillUnconfirmed = "unconfirmed" // its gateway has not said that it has ended; it does as soon as its gateway hears of the wish
	KillUnknown     = "not there"   // nothing is known of it
)

// A KillResult is what became of the wish that a session ends.
type KillResult struct {
	SessionStatus
	Result string `json:"result"`
}

// A KillRequest says which sessions are to end: those of Operations, or those that run and that App
// or User selects.
type KillRequest struct {
	Operations []string `json:"operations,omitempty"`
	App        string   `json:"app,omitempty"`
	User       string   `json:"user,omitempty"`
	// By and Because go into the end record, and to the person whose session it is.
	By      string `json:"asked_by"`
	Because string `json:"reason,omitempty"`
}

// ErrBadKill is the error of a request to end sessions that does not say which, or who asks.
var ErrBadKill = errors.New("what is asked is not clear")

const (
	// killTimeout is how long the gateway of a session may take to say that it has ended.
	killTimeout = 30 * time.Second
	// maxBecause bounds, in characters, what is said to the person whose session is ended.
	maxBecause = 300
	// maxBy cuts who asks.
	maxBy = 100
	// killsAtOnce bounds the sessions whose ends are waited for at a time.
	killsAtOnce = 32
)

// Kill ends sessions, and waits until each has ended or its gateway has not answered for half a
// minute. The results are in the order of the request, or the newest first.
func (o *SessionOperator) Kill(ctx context.Context, r KillRequest) ([]KillResult, error) {
	by, because := oneLine(r.By), oneLine(r.Because)
	if runes := []rune(by); len(runes) > maxBy {
		by = string(runes[:maxBy])
	}
	switch {
	case by == "":
		return nil, fmt.Errorf("%w: expected who asks, in asked_by", ErrBadKill)
	case len([]rune(r.Because)) > maxBecause:
		return nil, fmt.Errorf("%w: expected a reason of %d characters at most", ErrBadKill, maxBecause)
	case len(r.Operations) > 0 && (r.App != "" || r.User != ""), len(r.Operations) == 0 && r.App == "" && r.User == "":
		return nil, fmt.Errorf("%w: expected either the IDs of sessions, or an app or a user", ErrBadKill)
	}
	operations := r.Operations
	if len(operations) == 0 {
		list, err := o.List(ctx, SessionFilter{App: r.App, User: r.User})
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			operations = append(operations, s.Operation)
		}
	}
	results := make([]KillResult, len(operations))
	errs := make([]error, len(operations))
	var wg sync.WaitGroup
	free := make(chan struct{}, killsAtOnce)
	for i, operation := range operations {
		free <- struct{}{}
		wg.Go(func() { // ends within killTimeout
			defer func() { <-free }()
			results[i], errs[i] = o.kill(ctx, schema.Kill{Operation: operation, By: by, Because: because, At: time.Now().UTC()})
		})
	}
	wg.Wait()
	return results, errors.Join(errs...)
}

func (o *SessionOperator) kill(ctx context.Context, k schema.Kill) (KillResult, error) {
	before, err := o.Show(ctx, k.Operation)
	switch {
	case errors.Is(err, ErrNotThere):
		return KillResult{SessionStatus{Operation: k.Operation}, KillUnknown}, nil
	case err != nil:
		return KillResult{}, err
	case before.State == SessionEnded:
		return KillResult{before, KillLate}, nil
	}
	if err := o.Bus.RequestKill(ctx, &k); err != nil {
		return KillResult{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	ended, err := o.Bus.AwaitEnd(waiting, k.Operation)
	switch {
	case err == nil:
		return KillResult{sessionStatus(&ended, nil), KillDone}, nil
	case waiting.Err() != nil && ctx.Err() == nil:
		return KillResult{before, KillUnconfirmed}, nil
	}
	return KillResult{}, err
}

// oneLine makes a text from outside one line that a terminal can show.
func oneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || schema.IsHidden(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "")))
}
