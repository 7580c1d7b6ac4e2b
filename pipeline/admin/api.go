package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
)

// maxLetters is the maximum number of dead letters in a list.
const maxLetters = 1000

// api serves the operations below /api/, for callers with the token and for the console's pages.
// Its routes say what each does: see [OpenAPI].
//
// Errors have the form of [refused].
//
// The log contains operations and views of session content with their callers, but never the
// content.
type api struct {
	operator *operate.Operator // of drains; nil if this process does not run the router
	sessions *operate.SessionOperator
	trail    *trail.Trail     // nil if there is none
	tokens   role.Tokens      // with the admin token
	console  *console.Console // nil if there is none
	log      *slog.Logger
	ending   context.Context // done when the server stops
	// wrong counts wrong tokens, and unauthenticated the logged requests without credentials.
	wrong, unauthenticated *console.Attempts
}

// json returns a route whose response is JSON. Without o.Security, both the token and a login are
// accepted. The action is its description in the log; "" for frequent requests that do not show
// session content.
func (a *api) json(o openapi.Operation, action string, handle func(*http.Request) (any, error)) route {
	authenticate := a.authenticateToken
	if o.Security == nil {
		o.Security, authenticate = []string{schemeToken, schemeSession}, a.authenticate
	}
	return route{o, func(w http.ResponseWriter, r *http.Request) {
		r, err := authenticate(w, r)
		if err == nil {
			err = readBody(r)
		}
		if err == nil {
			err = checkQuery(&o, r)
		}
		var value any
		if err == nil {
			extend(w)
			value, err = handle(r)
		}
		if action != "" {
			a.logAction(r, action, statusOf(err))
		}
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", openapi.JSON)
		reply(w, http.StatusOK, value)
	}}
}

// routed returns a handler for requests that need the router in this process.
func (a *api) routed(handle func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		if a.operator == nil {
			return nil, errNoRouter
		}
		return handle(r)
	}
}

// checkQuery refuses a query that an operation does not accept.
func checkQuery(o *openapi.Operation, r *http.Request) error {
	if err := o.CheckQuery(r.URL.RawQuery); err != nil {
		return refusal{err}
	}
	return nil
}

// refusal is an error that the caller has caused.
type refusal struct{ error }

// statusOf returns the HTTP status for an error.
func statusOf(err error) int {
	var bad refusal
	var refused *console.Refusal
	var skips *operate.SkipError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &refused):
		return refused.Status
	case errors.As(err, &bad), errors.Is(err, operate.ErrBadKill):
		return http.StatusBadRequest
	case errors.Is(err, operate.ErrUnknownDrain), errors.Is(err, operate.ErrNotFound), errors.Is(err, errNoRouter):
		return http.StatusNotFound
	case errors.Is(err, operate.ErrNoAgreement), errors.Is(err, errEnded), errors.As(err, &skips):
		return http.StatusConflict
	}
	return http.StatusBadGateway
}

func reply(w http.ResponseWriter, status int, value any) {
	w.WriteHeader(status)
	encoder := json.NewEncoder(&schema.JSONWriter{To: w})
	encoder.SetIndent("", "  ")
	encoder.Encode(value) // fails only if the client has disconnected
}

// refused is the response to a request that was refused or has failed.
type refused struct {
	Error string `json:"error"`
}

// done is the response to an operation that returns nothing else.
type done struct{}

// A LoginLink is a URL that logs in to the console once, until it expires.
type LoginLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// document is the OpenAPI document.
type document struct{}

// errNoRouter is the error for requests about drains, dead letters and records in a process that
// does not run the router.
var errNoRouter = errors.New("this ttydrain does not run the router: use the admin address of one that does (--admin ADDRESS)")

func (a *api) drains(r *http.Request) (any, error) { return a.operator.List(r.Context()) }

func (a *api) pause(r *http.Request) (any, error) {
	return done{}, a.operator.Pause(r.Context(), r.PathValue("name"), true)
}

func (a *api) resume(r *http.Request) (any, error) {
	return done{}, a.operator.Pause(r.Context(), r.PathValue("name"), false)
}

// testRequest is the body of a request to test a drain.
type testRequest struct {
	By string `json:"asked_by,omitempty"`
}

func (a *api) test(r *http.Request) (any, error) {
	var request testRequest
	if r.ContentLength != 0 {
		if err := decodeBody(r, &request, `{"asked_by": "ada"}, or nothing`); err != nil {
			return nil, err
		}
	}
	by := callerOf(r).nameOr(request.By)
	e := a.event(r, trail.DrainTest)
	e.Actor = cmp.Or(by, e.Actor)
	var report *drain.Report
	err := a.audited(r, e, func() (err error) {
		report, err = a.operator.Test(r.Context(), e.Drain, by)
		return err
	})
	return report, err
}

// rewindRequest is the body of a request to rewind a drain.
type rewindRequest struct {
	To        *time.Time `json:"to,omitempty"`
	Operation string     `json:"operation,omitempty"`
	Skip      bool       `json:"skip,omitempty"`
}

func rewindRequestOf(r *http.Request) (request rewindRequest, err error) {
	if err := decodeBody(r, &request, `{"to": "2026-01-31T09:30:00Z"} or {"operation": "42"}`); err != nil {
		return request, err
	}
	if (request.To == nil) == (request.Operation == "") {
		return request, refusal{errors.New(`expected either "to" or "operation"`)}
	}
	return request, nil
}

func (a *api) planRewind(r *http.Request) (any, error) {
	request, err := rewindRequestOf(r)
	if err != nil {
		return nil, err
	}
	if request.To == nil {
		return a.operator.PlanRewindToOperation(r.Context(), r.PathValue("name"), request.Operation)
	}
	return a.operator.PlanRewindToTime(r.Context(), r.PathValue("name"), *request.To)
}

func (a *api) rewind(r *http.Request) (any, error) {
	request, err := rewindRequestOf(r)
	if err != nil {
		return nil, err
	}
	name, to := r.PathValue("name"), request.To
	e := a.event(r, trail.DrainRewind)
	e.To, e.Operation = to, request.Operation
	return done{}, a.audited(r, e, func() error {
		if to == nil {
			return a.operator.RewindToOperation(r.Context(), name, request.Operation, request.Skip)
		}
		return a.operator.RewindToTime(r.Context(), name, *to, request.Skip)
	})
}

func (a *api) letters(r *http.Request) (any, error) {
	limit := maxLetters
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil { // checked: see checkQuery
		limit = min(n, maxLetters)
	}
	return a.operator.DeadLetters(r.Context(), letterFilter(r), limit)
}

// letterFilter returns the selection of dead letters in the query of a request: see
// letterParameters.
func letterFilter(r *http.Request) operate.LetterFilter {
	q := r.URL.Query()
	f := operate.LetterFilter{Drain: q.Get("drain"), Reason: q.Get("reason"), Since: timeOf(r, "since"), Until: timeOf(r, "until")}
	f.After, _ = strconv.ParseUint(q.Get("after"), 10, 64) // checked: see checkQuery
	f.Last, _ = strconv.ParseUint(q.Get("last"), 10, 64)
	return f
}

func (a *api) countLetters(r *http.Request) (any, error) {
	return a.operator.CountDeadLetters(r.Context(), letterFilter(r))
}

func (a *api) redeliverAll(r *http.Request) (any, error) {
	return a.forLetters(r, trail.DeadLetterRedeliver, a.operator.RedeliverAll)
}

func (a *api) discardAll(r *http.Request) (any, error) {
	return a.forLetters(r, trail.DeadLetterDiscard, a.operator.DiscardAll)
}

// forLetters records an operation on the selected dead letters, and performs it.
func (a *api) forLetters(r *http.Request, kind trail.Kind, do func(context.Context, operate.LetterFilter) (operate.BulkResult, error)) (result operate.BulkResult, err error) {
	f := letterFilter(r)
	e := a.event(r, kind)
	e.Drain, e.Reason, e.DeadLetter = f.Drain, f.Reason, fmt.Sprintf("%d-%d", f.After+1, f.Last)
	err = a.audited(r, e, func() (err error) {
		result, err = do(r.Context(), f)
		return err
	})
	return result, err
}

// timeOf returns a time in the query of a request; the zero value if there is none.
func timeOf(r *http.Request, name string) time.Time {
	at, _ := time.Parse(time.RFC3339, r.URL.Query().Get(name)) // checked: see checkQuery
	return at
}

func number(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil || n == 0 {
		return 0, refusal{errors.New("expected the number of a dead letter, as shown in the list")}
	}
	return n, nil
}

// letterWithRecord is a dead letter with its record as drains receive it.
type letterWithRecord struct {
	operate.Letter
	Record record `json:"record"`
}

// record is a record in JSON.
type record json.RawMessage

func (r record) MarshalJSON() ([]byte, error) { return r, nil }

func (a *api) letter(r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	letter, data, err := a.operator.DeadLetter(r.Context(), n)
	if err == nil && letter.PHI {
		if err := a.mayShowPHI(r); err != nil {
			return nil, err
		}
	}
	return letterWithRecord{letter, data}, err
}

func (a *api) redeliver(r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	return done{}, a.operator.Redeliver(r.Context(), n)
}

func (a *api) discard(r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	return done{}, a.operator.Discard(r.Context(), n)
}

func (a *api) listSessions(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := operate.SessionFilter{App: q.Get("app"), Stack: q.Get("stack"), User: q.Get("user"), Ended: q.Get("all") == "true",
		Since: timeOf(r, "since"), Until: timeOf(r, "until"), Text: q.Get("text"), Before: q.Get("before")}
	f.Limit, _ = strconv.Atoi(q.Get("limit")) // checked: see checkQuery
	return a.sessions.List(r.Context(), f)
}

func (a *api) showSession(r *http.Request) (any, error) {
	return a.sessions.Show(r.Context(), r.PathValue("id"))
}

func (a *api) killSessions(r *http.Request) (any, error) {
	var request operate.KillRequest
	if err := decodeBody(r, &request, `{"operations": ["42"], "asked_by": "ada"}, or "app" or "user" instead of "operations" for all of its running sessions`); err != nil {
		return nil, err
	}
	request.By = callerOf(r).nameOr(request.By)
	e := a.event(r, trail.SessionKill)
	e.Actor, e.Operations, e.App, e.User, e.Reason = cmp.Or(request.By, e.Actor), request.Operations, request.App, request.User, request.Because
	var results []operate.KillResult
	err := a.audited(r, e, func() (err error) {
		results, err = a.sessions.Kill(r.Context(), request)
		return err
	})
	what := []any{"asked_by", request.By, "operations", request.Operations}
	if request.App != "" || request.User != "" {
		what = append(what, "app", request.App, "user", request.User)
	}
	a.logAction(r, "requested the end of sessions", statusOf(err), what...)
	return results, err
}

// linkRequest is the body of a request for a login link.
type linkRequest struct {
	Name string `json:"name"`
}

// newLink returns a login link for the console. Only callers with the token get one: a login could
// be prolonged forever.
func (a *api) newLink(r *http.Request) (any, error) {
	if a.console == nil {
		return nil, fmt.Errorf("%w: the console is disabled (admin.console.disabled)", operate.ErrNotFound)
	}
	var request linkRequest
	if err := decodeBody(r, &request, `{"name": "ada"}`); err != nil {
		return nil, err
	}
	url, until, err := a.console.NewLink(request.Name)
	return LoginLink{url, until}, err
}
