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

// maxLetters is how many dead letters are listed at a time.
const maxLetters = 1000

// api serves what operators do with the drains and sessions, below /api/v1/, to those who have the
// token, and to the console's pages:
//
//	GET    drains                       how each stands
//	POST   drains/{name}/pause, resume
//	POST   drains/{name}/test           {"asked_by": NAME}, or nothing; 200 also when the test fails: see "ok"
//	POST   drains/{name}/rewind         {"to": RFC 3339} or {"operation": ID}, with {"skip": true} past records that the drain does not
//	                                    have; 409 where there are such and it is not set
//	GET    deadletters[?drain=NAME]     the oldest first, 1,000 at most
//	GET    deadletters/{number}         with the record
//	POST   deadletters/{number}/redeliver
//	DELETE deadletters/{number}
//	GET    sessions[?app=NAME&user=ID&stack=NAME&text=WORDS&before=ID&limit=N&all=true]    those that run; with all, those that have
//	                                    ended, too; the newest first
//	GET    sessions/{id}
//	GET    sessions/{id}/cast           what it has shown so far, as asciicast v2
//	GET    sessions/{id}/text           the same for reading: a line a record, with its time
//	GET    sessions/{id}/live           what it has shown, and what it shows from then on, as events (text/event-stream)
//	POST   sessions/kill                {"operations": [ID, …]}, {"app": NAME} or {"user": ID}, with {"asked_by": NAME, "reason": TEXT}; 200
//	                                    also where one could not be confirmed: see "result"
//	GET    segments[?operation=ID&app=NAME&stack=NAME&since=RFC 3339&from=now&after=SEQUENCE&follow=true]    what was recorded: see schema.HeaderSegments
//
// An error is {"error": TEXT}. What somebody of the console asks for is asked for in their name:
// asked_by is not looked at.
//
// The log has who did what, and who saw what sessions showed; never what that was.
type api struct {
	operator *operate.Operator // of drains; nil where this process has no router
	sessions *operate.SessionOperator
	token    string           // "" for none
	console  *console.Console // nil for none
	log      *slog.Logger
	ending   context.Context // done when the server stops
	// wrong counts wrong tokens, and strangers the requests without credentials that are logged.
	wrong, strangers *console.Attempts
}

// A route is something that can be asked for.
type route struct {
	handle func(*http.Request) (any, error)
	// deed is what the log says of it; "" for what is asked all the time and shows no session.
	deed string
}

func (a *api) register(mux *http.ServeMux) {
	a.handle(mux, map[string]route{
		"GET /api/v1/sessions":       {a.listSessions, ""},
		"GET /api/v1/sessions/{id}":  {a.showSession, ""},
		"POST /api/v1/sessions/kill": {a.killSessions, ""}, // which notes it itself
	})
	a.registerWatching(mux)
	if a.operator == nil {
		mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			reply(w, http.StatusNotFound, map[string]string{"error": "this ttydrain runs without the router: ask one that runs it, at its admin address (--admin ADDRESS)"})
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
		"GET /api/v1/deadletters/{number}":            {a.letter, "looked at a dead letter"},
		"POST /api/v1/deadletters/{number}/redeliver": {a.redeliver, "redelivered a dead letter"},
		"DELETE /api/v1/deadletters/{number}":         {a.discard, "discarded a dead letter"},
	})
}

func (a *api) handle(mux *http.ServeMux, routes map[string]route) {
	for pattern, route := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r, err := a.admit(w, r)
			if err == nil {
				err = readBody(r)
			}
			var value any
			if err == nil {
				extend(w)
				value, err = route.handle(r)
			}
			if route.deed != "" {
				a.note(r, route.deed, statusOf(err))
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

// readBody reads the body of a request while its deadline holds: what is done afterwards may take
// longer.
func readBody(r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return &console.Refusal{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return refusal{errors.New("the body did not come")}
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// refusal is an error that is the caller's.
type refusal struct{ error }

// statusOf is the status of an answer that is an error.
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
	case errors.Is(err, operate.ErrUnknownDrain), errors.Is(err, operate.ErrNotThere):
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
	encoder.Encode(value) // fails only where nobody reads it any more
}

type done struct{}

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
		return nil, refusal{errors.New(`the body is not understood: expected {"asked_by": "ada"}, or nothing`)}
	}
	return a.operator.Test(r.Context(), r.PathValue("name"), callerOf(r).asks(by.Name))
}

func (a *api) rewind(r *http.Request) (any, error) {
	var to struct {
		To        time.Time `json:"to"`
		Operation string    `json:"operation"`
		Skip      bool      `json:"skip"`
	}
	if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
		return nil, refusal{errors.New(`the body is not understood: expected {"to": "2026-01-31T09:30:00Z"} or {"operation": "42"}`)}
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
		return 0, refusal{errors.New("the number of a dead letter is expected, as the list has it")}
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
			return nil, refusal{errors.New("limit: a number of sessions is expected, such as 50")}
		}
	}
	return a.sessions.List(r.Context(), f)
}

func (a *api) showSession(r *http.Request) (any, error) {
	return a.sessions.Show(r.Context(), r.PathValue("id"))
}

func (a *api) killSessions(r *http.Request) (any, error) {
	var wish operate.KillRequest
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		return nil, refusal{errors.New(`the body is not understood: expected {"operations": ["42"], "asked_by": "ada"}, with "app" or "user" in the place of "operations" for all that run`)}
	}
	wish.By = callerOf(r).asks(wish.By)
	results, err := a.sessions.Kill(r.Context(), wish)
	what := []any{"asked_by", wish.By, "operations", wish.Operations}
	if wish.App != "" || wish.User != "" {
		what = append(what, "app", wish.App, "user", wish.User)
	}
	a.note(r, "wished that sessions end", statusOf(err), what...)
	return results, err
}
