package admin

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
)

// segments returns a route that responds with segments of LOGS, in the format of
// [schema.HeaderSegments].
func (a *api) segments(o openapi.Operation) route {
	return route{o, func(w http.ResponseWriter, r *http.Request) { a.readSegments(&o, w, r) }}
}

func (a *api) readSegments(o *openapi.Operation, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	r, err := a.authenticateToken(w, r)
	if err == nil {
		err = checkQuery(o, r)
	}
	if err == nil && a.operator == nil {
		err = errNoRouter
	}
	if err == nil && !callerOf(r).grant.PHI {
		err = a.mayReadSegments(r, q.Get("operation"))
	}
	if err == nil {
		e := a.event(r, trail.RecordsExport)
		e.Operation, e.App, e.Stack = q.Get("operation"), q.Get("app"), q.Get("stack")
		err = a.recordView(r, e, nil)
	}
	a.logAction(r, "read recorded segments", statusOf(err), "operation", q.Get("operation"), "app", q.Get("app"), "stack", q.Get("stack"))
	if err != nil {
		refuse(w, err)
		return
	}
	query := operate.SegmentQuery{
		Operation: q.Get("operation"), App: q.Get("app"), Stack: q.Get("stack"), Now: q.Get("from") == "now", Follow: q.Get("follow") == "true",
	}
	// Both are checked, or empty: see checkQuery.
	query.After, _ = strconv.ParseUint(q.Get("after"), 10, 64)
	query.Since, _ = time.Parse(time.RFC3339, q.Get("since"))
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(a.ending, func() { cancel(errStopping) }) // a following client would delay the stop
	defer stop()

	out := stream(w)
	var frame []byte
	begun := false
	write := func(sequence uint64, data []byte, flush bool) error {
		frame = binary.AppendUvarint(frame[:0], sequence)
		frame = binary.AppendUvarint(frame, uint64(len(data)))
		if _, err := out.Write(append(frame, data...)); err != nil {
			return err
		}
		if flush {
			return out.FlushError()
		}
		return nil
	}
	err = a.operator.Segments(ctx, query, func(count uint64) {
		begun = true
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set(schema.HeaderSegments, strconv.FormatUint(count, 10))
		_ = out.FlushError() // later writes fail too
	}, func(sequence uint64, data []byte, more bool) error { return write(sequence, data, !more) })
	switch {
	case err != nil && !begun:
		refuse(w, err)
	case err != nil:
		_ = write(0, []byte(err.Error()), true) // the client may have disconnected
	default:
		_ = write(0, nil, true)
	}
}

// mayReadSegments returns an error unless a caller who may not see protected health information may
// read the segments of an operation; "" stands for all.
func (a *api) mayReadSegments(r *http.Request, operation string) error {
	if operation == "" {
		return &console.Refusal{Status: http.StatusForbidden,
			Reason: "the output of all sessions may hold protected health information, which your token does not permit (phi: true): name one session"}
	}
	session, err := a.sessions.Show(r.Context(), operation)
	if err == nil && session.PHI {
		err = a.mayShowPHI(r)
	}
	return err
}

// errStopping is the cause for the end of a response that would otherwise continue indefinitely.
var errStopping = errors.New("this ttydrain is stopping: retry")
