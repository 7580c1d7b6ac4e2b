package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline"
)

// maxLetters is how many dead letters are listed at a time.
const maxLetters = 1000

// api serves what operators do with the drains, below /api/v1/, to those who have the token:
//
//	GET    drains                       how each stands
//	POST   drains/{name}/pause, resume
//	POST   drains/{name}/test           {"asked_by": NAME}, or nothing; 200 also when the test fails: see "ok"
//	POST   drains/{name}/rewind         {"to": RFC 3339} or {"operation": ID}
//	GET    deadletters[?drain=NAME]     the oldest first, 1,000 at most
//	GET    deadletters/{number}         with the record
//	POST   deadletters/{number}/redeliver
//	DELETE deadletters/{number}
//	GET    sessions[?app=NAME&user=ID&stack=NAME&all=true]    those that run; with all, those that have ended, too
//	GET    sessions/{id}
//	POST   sessions/kill                {"operations": [ID, …]}, {"app": NAME} or {"user": ID}, with {"asked_by": NAME, "reason": TEXT}; 200
//	                                    also where one could not be confirmed: see "result"
//	GET    segments[?operation=ID&app=NAME&stack=NAME&since=RFC 3339&from=now&follow=true]    what was recorded: see schema.HeaderSegments
//
// An error is {"error": TEXT}.
type api struct {
	operator *pipeline.Operator // of drains; nil where this process has no router
	sessions *pipeline.SessionOperator
	token    string
	ending   context.Context // done when the server stops
}

func (a *api) register(mux *http.ServeMux) {
	a.handle(mux, map[string]func(*http.Request) (any, error){
		"GET /api/v1/sessions":       a.listSessions,
		"GET /api/v1/sessions/{id}":  a.showSession,
		"POST /api/v1/sessions/kill": a.killSessions,
	})
	if a.operator == nil {
		mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			reply(w, http.StatusNotFound, map[string]string{"error": "this ttydrain runs without the router: ask one that runs it, at its admin address (--admin HOST:PORT)"})
		})
		return
	}
	mux.HandleFunc("GET /api/v1/segments", a.segments)
	a.handle(mux, map[string]func(*http.Request) (any, error){
		"GET /api/v1/drains":                          a.drains,
		"POST /api/v1/drains/{name}/pause":            a.pause,
		"POST /api/v1/drains/{name}/resume":           a.resume,
		"POST /api/v1/drains/{name}/test":             a.test,
		"POST /api/v1/drains/{name}/rewind":           a.rewind,
		"GET /api/v1/deadletters":                     a.letters,
		"GET /api/v1/deadletters/{number}":            a.letter,
		"POST /api/v1/deadletters/{number}/redeliver": a.redeliver,
		"DELETE /api/v1/deadletters/{number}":         a.discard,
	})
}

func (a *api) handle(mux *http.ServeMux, handlers map[string]func(*http.Request) (any, error)) {
	for pattern, handle := range handlers {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.answer(w, r, handle) })
	}
}

// refusal is an error that is the caller's.
type refusal struct{ error }

// allowed says whether a request has the token. One that has not is answered, and one that has is going to be, with JSON unless
// the header is changed.
func (a *api) allowed(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(a.token)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		reply(w, http.StatusUnauthorized, map[string]string{"error": "this needs the admin token"})
		return false
	}
	return true
}

func (a *api) answer(w http.ResponseWriter, r *http.Request, handle func(*http.Request) (any, error)) {
	if !a.allowed(w, r) {
		return
	}
	value, err := handle(r)
	var bad refusal
	switch {
	case err == nil:
		reply(w, http.StatusOK, value)
	case errors.As(err, &bad), errors.Is(err, pipeline.ErrBadKill):
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	case errors.Is(err, pipeline.ErrUnknownDrain), errors.Is(err, pipeline.ErrNotThere):
		reply(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case errors.Is(err, pipeline.ErrNoAgreement):
		reply(w, http.StatusConflict, map[string]string{"error": err.Error()})
	default:
		reply(w, http.StatusBadGateway, map[string]string{"error": err.Error()})
	}
}

func reply(w http.ResponseWriter, status int, value any) {
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
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
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<16)).Decode(&by); err != nil && !errors.Is(err, io.EOF) {
		return nil, refusal{errors.New(`the body is not understood: expected {"asked_by": "ada"}, or nothing`)}
	}
	return a.operator.Test(r.Context(), r.PathValue("name"), by.Name)
}

func (a *api) rewind(r *http.Request) (any, error) {
	var to struct {
		To        time.Time `json:"to"`
		Operation string    `json:"operation"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<16)).Decode(&to); err != nil {
		return nil, refusal{errors.New(`the body is not understood: expected {"to": "2026-01-31T09:30:00Z"} or {"operation": "42"}`)}
	}
	switch {
	case to.To.IsZero() == (to.Operation == ""):
		return nil, refusal{errors.New(`expected either "to" or "operation"`)}
	case to.Operation != "":
		return done{}, a.operator.RewindToOperation(r.Context(), r.PathValue("name"), to.Operation)
	}
	return done{}, a.operator.RewindToTime(r.Context(), r.PathValue("name"), to.To)
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
	return struct {
		pipeline.Letter
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
	return a.sessions.List(r.Context(), pipeline.SessionFilter{App: q.Get("app"), Stack: q.Get("stack"), User: q.Get("user"), Ended: q.Get("all") == "true"})
}

func (a *api) showSession(r *http.Request) (any, error) {
	return a.sessions.Show(r.Context(), r.PathValue("id"))
}

func (a *api) killSessions(r *http.Request) (any, error) {
	var wish pipeline.KillRequest
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&wish); err != nil {
		return nil, refusal{errors.New(`the body is not understood: expected {"operations": ["42"], "asked_by": "ada"}, with "app" or "user" in the place of "operations" for all that run`)}
	}
	return a.sessions.Kill(r.Context(), wish)
}
