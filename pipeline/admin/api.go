package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
)

// maxLetters is the maximum number of dead letters in a list.
const maxLetters = 1000

// api serves operations on drains and sessions below /api/v1/, for callers with the token and for
// the console's pages:
//
//	GET    drains                       the status of each drain
//	POST   drains/{name}/pause, resume
//	POST   drains/{name}/test           see "ok": the status is 200 also if the test fails
//	POST   drains/{name}/rewind         {"to": RFC 3339} or {"operation": ID}; 409 if the drain
//	                                    would miss records, unless {"skip": true}
//	GET    deadletters                  oldest first, at most 1,000; ?drain=NAME
//	GET    deadletters/{number}         with the record
//	POST   deadletters/{number}/redeliver
//	DELETE deadletters/{number}
//	GET    sessions                     running ones, newest first, with all=true also ended ones;
//	                                    ?app=NAME&user=ID&stack=NAME&text=WORDS&before=ID&limit=N
//	GET    sessions/{id}
//	GET    sessions/{id}/cast           the output so far, as asciicast v2
//	GET    sessions/{id}/text           the output so far: one line per record, with its time
//	GET    sessions/{id}/live           the output so far and from now on (text/event-stream)
//	POST   sessions/kill                {"operations": [ID, …]}, {"app": NAME} or {"user": ID}, with
//	                                    {"reason": TEXT}; see "result": the status is 200 also if
//	                                    an end is not confirmed
//	POST   console/links                {"name": NAME}: a URL that logs in to the console once; only
//	                                    with the token
//	GET    segments                     recorded segments: see schema.HeaderSegments;
//	                                    ?operation=ID&app=NAME&stack=NAME&since=RFC 3339&from=now
//	                                    &after=SEQUENCE&follow=true
//
// The operations test and kill accept {"asked_by": NAME}. For requests from the console, the user's
// name replaces it.
//
// Errors have the form {"error": TEXT}.
//
// The log contains operations and views of session content with their callers, but never the
// content.
type api struct {
	operator *operate.Operator // of drains; nil if this process does not run the router
	sessions *operate.SessionOperator
	token    string           // "" if there is none
	console  *console.Console // nil if there is none
	log      *slog.Logger
	ending   context.Context // done when the server stops
	// wrong counts wrong tokens, and unauthenticated the logged requests without credentials.
	wrong, unauthenticated *console.Attempts
}

// route is an operation of the API.
type route struct {
	handle func(*http.Request) (any, error)
	// action is its description in the log; "" for frequent requests that do not show session
	// content.
	action string
}

func (a *api) register(mux *http.ServeMux) {
	a.handle(mux, map[string]route{
		"GET /api/v1/sessions":       {a.listSessions, ""},
		"GET /api/v1/sessions/{id}":  {a.showSession, ""},
		"POST /api/v1/sessions/kill": {a.killSessions, ""}, // logs by itself
	})
	if a.console != nil {
		a.handle(mux, map[string]route{"POST /api/v1/console/links": {a.newLink, "created a login link"}})
	}
	a.registerOutput(mux)
	if a.operator == nil {
		mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			reply(w, http.StatusNotFound, map[string]string{"error": "this ttydrain does not run the router: use the admin address of one that does (--admin ADDRESS)"})
		})
		return
	}
	mux.HandleFunc("GET /api/v1/segments", a.segments)
	a.handle(mux, map[string]route{
		"GET /api/v1/drains":                          {a.drains, ""},
		"POST /api/v1/drains/{name}/pause":            {a.pause, "paused a drain"},
		"POST /api/v1/drains/{name}/resume":           {a.resume, "resumed a drain"},
		"POST /api/v1/drains/{name}/test":             {a.test, "tested a drain"},
		"POST /api/v1/drains/{name}/rewind":           {a.rewind, "rewound a drain"},
		"GET /api/v1/deadletters":                     {a.letters, ""},
		"GET /api/v1/deadletters/{number}":            {a.letter, "viewed a dead letter"},
		"POST /api/v1/deadletters/{number}/redeliver": {a.redeliver, "redelivered a dead letter"},
		"DELETE /api/v1/deadletters/{number}":         {a.discard, "discarded a dead letter"},
	})
}

func (a *api) handle(mux *http.ServeMux, routes map[string]route) {
	for pattern, route := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r, err := a.authenticate(w, r)
			if err == nil {
				err = readBody(r)
			}
			var value any
			if err == nil {
				extend(w)
				value, err = route.handle(r)
			}
			if route.action != "" {
				a.logAction(r, route.action, statusOf(err))
			}
			if err != nil {
				refuse(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			reply(w, http.StatusOK, value)
		})
	}
}

// readBody reads the body of a request within the deadline for it. The operation itself may take
// longer.
func readBody(r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return &console.Refusal{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return refusal{errors.New("the body could not be read")}
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
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
	case errors.Is(err, operate.ErrUnknownDrain), errors.Is(err, operate.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, operate.ErrNoAgreement), errors.As(err, &skips):
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

type done struct{}

// A LoginLink is a URL that logs in to the console once, until it expires.
type LoginLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

func (a *api) drains(r *http.Request) (any, error) { return a.operator.List(r.Context()) }

func (a *api) pause(r *http.Request) (any, error) {
	return done{}, a.operator.Pause(r.Context(), r.PathValue("name"), true)
}

func (a *api) resume(r *http.Request) (any, error) {
	return done{}, a.operator.Pause(r.Context(), r.PathValue("name"), false)
}

func (a *api) test(r *http.Request) (any, error) {
	var by struct {
		Name string `json:"asked_by"`
	}
	if err := json.NewDecoder(r.Body).Decode(&by); err != nil && !errors.Is(err, io.EOF) {
		return nil, refusal{errors.New(`invalid body: expected {"asked_by": "ada"}, or nothing`)}
	}
	return a.operator.Test(r.Context(), r.PathValue("name"), callerOf(r).nameOr(by.Name))
}

func (a *api) rewind(r *http.Request) (any, error) {
	var to struct {
		To        time.Time `json:"to"`
		Operation string    `json:"operation"`
		Skip      bool      `json:"skip"`
	}
	if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
		return nil, refusal{errors.New(`invalid body: expected {"to": "2026-01-31T09:30:00Z"} or {"operation": "42"}`)}
	}
	switch {
	case to.To.IsZero() == (to.Operation == ""):
		return nil, refusal{errors.New(`expected either "to" or "operation"`)}
	case to.Operation != "":
		return done{}, a.operator.RewindToOperation(r.Context(), r.PathValue("name"), to.Operation, to.Skip)
	}
	return done{}, a.operator.RewindToTime(r.Context(), r.PathValue("name"), to.To, to.Skip)
}

func (a *api) letters(r *http.Request) (any, error) {
	return a.operator.DeadLetters(r.Context(), r.URL.Query().Get("drain"), maxLetters)
}

func number(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil || n == 0 {
		return 0, refusal{errors.New("expected the number of a dead letter, as shown in the list")}
	}
	return n, nil
}

func (a *api) letter(r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	letter, record, err := a.operator.DeadLetter(r.Context(), n)
	if err == nil && letter.PHI {
		if err := a.mayShowPHI(r); err != nil {
			return nil, err
		}
	}
	return struct {
		operate.Letter
		Record json.RawMessage `json:"record"`
	}{letter, record}, err
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
		Text: q.Get("text"), Before: q.Get("before")}
	if limit := q.Get("limit"); limit != "" {
		var err error
		if f.Limit, err = strconv.Atoi(limit); err != nil || f.Limit < 1 {
			return nil, refusal{errors.New("limit: expected a number of sessions, such as 50")}
		}
	}
	return a.sessions.List(r.Context(), f)
}

func (a *api) showSession(r *http.Request) (any, error) {
	return a.sessions.Show(r.Context(), r.PathValue("id"))
}

func (a *api) killSessions(r *http.Request) (any, error) {
	var request operate.KillRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, refusal{errors.New(`invalid body: expected {"operations": ["42"], "asked_by": "ada"}, or "app" or "user" instead of "operations" for all of its running sessions`)}
	}
	request.By = callerOf(r).nameOr(request.By)
	results, err := a.sessions.Kill(r.Context(), request)
	what := []any{"asked_by", request.By, "operations", request.Operations}
	if request.App != "" || request.User != "" {
		what = append(what, "app", request.App, "user", request.User)
	}
	a.logAction(r, "requested the end of sessions", statusOf(err), what...)
	return results, err
}

// newLink returns a login link for the console.
func (a *api) newLink(r *http.Request) (any, error) {
	if callerOf(r).person != nil { // a login could be prolonged forever
		return nil, &console.Refusal{Status: http.StatusForbidden, Reason: "this request needs the admin token"}
	}
	var request struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, refusal{errors.New(`invalid body: expected {"name": "ada"}`)}
	}
	url, until, err := a.console.NewLink(request.Name)
	return LoginLink{url, until}, err
}
