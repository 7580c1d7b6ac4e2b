package sinks

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A Verdict is the kind of a failure. It decides how the caller handles the entries that were not
// delivered.
type Verdict uint8

const (
	// Retry: the cause is temporary (no connection, a busy or broken drain).
	Retry Verdict = iota
	// Misconfigured: the drain refuses every request until its settings or credentials are changed
	// (401, 403, 404, 407, TLS that cannot be verified). It is retried slowly, and reported.
	Misconfigured
	// Rejected: the drain will never take one or more of these records as they are.
	Rejected
	// TooLarge: the drain may take them in smaller requests.
	TooLarge
	// Gone: the drain has ceased to exist (410).
	Gone
)

var verdictNames = [...]string{"retry", "misconfigured", "rejected", "too large", "gone"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// An Error describes a batch that was not delivered, or not completely.
type Error struct {
	// Verdict on the whole request, where Items is empty.
	Verdict Verdict
	// Status is the protocol's own code (of HTTP), or 0.
	Status int
	// RetryAfter is the pause that the drain asked for, or 0.
	RetryAfter time.Duration
	// Reason describes what happened, for operators. Neither it nor Advice holds a secret or any of
	// a session's content: a response is quoted only where it cannot echo what was sent.
	Reason string
	// Advice is what to do about it, as an imperative: "correct url". It may be "" where Err has
	// the only explanation.
	Advice string
	// Items are the entries that were not delivered, in ascending order of Index; all others were.
	// If it is empty, none was, as far as is known.
	Items []Item
	// Err is the cause, or nil.
	Err error
	// Reached reports that the drain had received the request, or a part of it, when the connection
	// broke or the response timed out: the failure can depend on the content of the records, or on
	// the size of the request. An error with a Status needs no such field.
	Reached bool
	// TimedOut is the number of entries in the request that the drain did not confirm in time; 0
	// where time was not the reason. A sink that knows which of them arrived names the others in
	// Items: the caller sends fewer entries at a time from then on, and counts what arrived as
	// progress.
	TimedOut int
}

// An Item is one entry that was not delivered.
type Item struct {
	Index   int // in the batch
	Verdict Verdict
	Status  int
	Reason  string // as in Error, and Advice too
	Advice  string
	// Unsent reports that the entry was in no request, since one before it failed.
	Unsent bool
}

// DependsOnContent reports whether the drain could take other records while it fails on these: it
// received the request before it responded or closed the connection. Statuses that refuse every
// request are excepted.
func (e *Error) DependsOnContent() bool {
	switch e.Status {
	case http.StatusProxyAuthRequired, http.StatusGone, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case 0:
		return e.Reached || e.Verdict == Rejected || e.Verdict == TooLarge
	}
	return true
}

// Error returns the message, followed by the cause.
func (e *Error) Error() string {
	s := e.Message()
	if e.Err != nil {
		if s != "" {
			s += ": "
		}
		s += e.Err.Error()
	}
	return s
}

// Message returns the reason and the advice in one text.
func (e *Error) Message() string { return message(e.Reason, e.Advice) }

// Message returns the reason and the advice in one text.
func (i Item) Message() string { return message(i.Reason, i.Advice) }

func message(reason, advice string) string {
	if advice == "" {
		return reason
	}
	return reason + ": " + advice
}

func (e *Error) Unwrap() error { return e.Err }

// AsError returns the *Error in err. An error of another type, which the sink did not expect,
// becomes a Retry, since any other verdict could lose records.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Verdict: Retry, Err: err}
}
