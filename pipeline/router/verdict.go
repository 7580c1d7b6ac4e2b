package router

import (
	"context"
	"errors"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// An action is the worker's response to a failed write.
type action uint8

const (
	actRetry     action = iota // wait and retry in place
	actRetrySlow               // the same with long waits: the drain's settings are wrong
	actIsolate                 // find the refused record by writing parts: see suspicion
	actSuspect                 // the same after repeated failures: most of these are temporary
	actStop                    // suspend delivery until an operator resumes the drain, or its settings change
)

const (
	// The waits between retries of a drain that should recover by itself.
	minRetry = 200 * time.Millisecond
	maxRetry = 30 * time.Second
	// The waits between retries of a drain that needs an operator.
	minSlowRetry = 5 * time.Second
	maxSlowRetry = 2 * time.Minute
	// maxWait is more than any wait between two attempts.
	maxWait = 2 * sinks.MaxRetryAfter
)

// How often a record has to be refused alone, each time after the drain has accepted another one in
// between, before it becomes a dead letter. The more likely the failure is temporary, the more
// often.
const (
	refusalsRejected      = 1 // with 400, 413 and the like a drain refers to the record
	refusalsMisconfigured = 2 // one of several servers at an address can have other settings
	refusalsRetry         = 3
)

// actionFor is the acknowledgement table: it returns the action for a failed write, in which item
// is the entry that decides.
//
// No action drops a record: undelivered records wait for as long as the stream keeps them, and then
// become gap records (loss.go). A record becomes a dead letter only alone, and only while
// the drain accepts others (isolate.go).
func actionFor(e *sinks.Error, item sinks.Item) action {
	content := (&sinks.Error{Verdict: item.Verdict, Status: item.Status, Reached: e.Reached}).DependsOnContent()
	switch item.Verdict {
	case sinks.Gone:
		return actStop
	case sinks.Rejected, sinks.TooLarge:
		return actIsolate
	case sinks.Misconfigured:
		if content {
			return actIsolate
		}
		return actRetrySlow
	}
	if content {
		return actSuspect
	}
	return actRetry
}

// state returns the state of a drain while the action waits.
func (a action) state() string {
	if a == actRetrySlow || a == actIsolate {
		return schema.DrainMisconfigured
	}
	return schema.DrainRetrying
}

// refusals returns how often a record has to be refused alone before it becomes a dead letter.
func refusals(v sinks.Verdict) int {
	switch v {
	case sinks.Rejected, sinks.TooLarge:
		return refusalsRejected
	case sinks.Misconfigured:
		return refusalsMisconfigured
	}
	return refusalsRetry
}

// decisive returns the item that decides the action. Entries stay in order, so a refused one
// precedes all others: once it is settled, the rest is written again and gets its own verdict.
func decisive(e *sinks.Error) sinks.Item {
	first := sinks.Item{Verdict: e.Verdict, Status: e.Status, Reason: e.Error()}
	rank := [...]int{sinks.Retry: 1, sinks.Gone: 2, sinks.Misconfigured: 2, sinks.TooLarge: 3, sinks.Rejected: 3}
	for i, item := range e.Items {
		if i == 0 || rank[item.Verdict] > rank[first.Verdict] {
			first = item
		}
	}
	return first
}

// undelivered returns the entries of a batch that a failed write did not deliver, in their order.
func undelivered(batch []sinks.Entry, e *sinks.Error) []sinks.Entry {
	if len(e.Items) == 0 {
		return batch
	}
	left := make([]sinks.Entry, len(e.Items))
	for i, item := range e.Items {
		left[i] = batch[item.Index]
	}
	return left
}

// refused returns how many of n undelivered entries, from the first on, include all that a failed
// write refused. The entries after them were not sent.
func refused(e *sinks.Error, n int) int {
	if len(e.Items) == 0 {
		if e.TimedOut > 0 {
			return min(n, e.TimedOut)
		}
		return n
	}
	last := 0
	for i, item := range e.Items {
		if !item.Unsent {
			last = i + 1
		}
	}
	return max(1, last)
}

// timedOut reports whether the drain did not acknowledge entries in time.
func timedOut(e *sinks.Error) bool {
	return e.TimedOut > 0 || e.Status == 0 && errors.Is(e, context.DeadlineExceeded)
}
