package sinks

import (
	"context"
	"net/http"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// Try checks the connectivity of a drain with its sink, as deliveries use it: it probes and then,
// unless record is nil, writes the record. It returns the steps, and whether all went well. The
// sink must be a new one: connections that were made before are not recorded.
func Try(ctx context.Context, sink Sink, record *Entry) (steps []probe.Step, ok bool) {
	r := new(probe.Recorder)
	ctx = r.Context(ctx)
	failed := errorOf(sink.Probe(ctx))
	// A drain that answers at all may accept a record although it did not like the question before.
	if record != nil && (failed == nil || failed.Status != 0) {
		written := errorOf(sink.Write(ctx, []Entry{*record}))
		// Deliveries go to each of the drain's addresses in turn.
		for range r.Addresses() - 1 {
			if written == nil || written.Status != 0 {
				break
			}
			written = errorOf(sink.Write(ctx, []Entry{*record}))
		}
		if failed == nil || written == nil || written.Status != failed.Status {
			failed = written
		}
	}
	if failed == nil {
		return r.Steps(nil, record != nil), true
	}
	f := failed.Failure()
	return r.Steps(&f, record != nil), false
}

// errorOf is [AsError], but of the one record's own error where the batch's error is about that.
func errorOf(err error) *Error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	if len(e.Items) == 1 {
		item := e.Items[0]
		return &Error{Verdict: item.Verdict, Status: item.Status, Reason: item.Reason, Advice: item.Advice, Err: e.Err}
	}
	return e
}

// Failure returns the error as the finding of a connectivity check; the zero Failure for nil.
func (e *Error) Failure() probe.Failure {
	if e == nil {
		return probe.Failure{}
	}
	return probe.Failure{Problem: e.Reason, Advice: e.Advice, Err: e.Err, Status: e.Status, Unauthorized: e.unauthorized()}
}

// unauthorized reports whether the drain refused the credentials. A 403 that passes by itself is
// about something else, such as Elasticsearch's block of an index.
func (e *Error) unauthorized() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Verdict == Misconfigured
}
