package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// The results of a request to end a session.
const (
	KillDone        = "ended"       // it has ended
	KillLate        = "had ended"   // it had ended before
	KillUnconfirmed = "unconfirmed" // its gateway has not confirmed it yet
	KillUnknown     = "not there"   // it is unknown
)

// A KillResult is the result of a request to end a session.
type KillResult struct {
	SessionStatus
	Result string `json:"result"`
}

// A KillRequest selects sessions to end: those of Operations, or the running ones of App or User.
type KillRequest struct {
	Operations []string `json:"operations,omitempty"`
	App        string   `json:"app,omitempty"`
	User       string   `json:"user,omitempty"`
	// By and Because go into the end record, and are shown to the user.
	By      string `json:"asked_by"`
	Because string `json:"reason,omitempty"`
}

// ErrBadKill is returned for a request that does not say which sessions to end, or who asks.
var ErrBadKill = errors.New("invalid request to end sessions")

const (
	// killTimeout bounds the wait for a gateway to confirm that a session has ended.
	killTimeout = 30 * time.Second
	// maxBecause is the maximum length of Because, in characters.
	maxBecause = 300
	// maxBy is the length, in characters, to which By is cut.
	maxBy = 100
	// maxKills bounds the sessions that are ended at a time.
	maxKills = 32
)

// Kill ends sessions, and blocks until each has ended, or for half a minute. The results are in the
// order of the request, or with App or User the newest first.
func (o *SessionOperator) Kill(ctx context.Context, r KillRequest) ([]KillResult, error) {
	by, because := printable(r.By), printable(r.Because)
	if runes := []rune(by); len(runes) > maxBy {
		by = string(runes[:maxBy])
	}
	switch {
	case by == "":
		return nil, fmt.Errorf("%w: expected the requester in asked_by", ErrBadKill)
	case len([]rune(r.Because)) > maxBecause:
		return nil, fmt.Errorf("%w: expected a reason of at most %d characters", ErrBadKill, maxBecause)
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
	free := make(chan struct{}, maxKills)
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

// kill ends one session.
func (o *SessionOperator) kill(ctx context.Context, k schema.Kill) (KillResult, error) {
	before, err := o.Show(ctx, k.Operation)
	switch {
	case errors.Is(err, ErrNotFound):
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

// printable returns an untrusted text as one line that a terminal can show.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || schema.IsHidden(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "")))
}
