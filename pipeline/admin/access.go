package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// A caller is who asks the API for something.
type caller struct {
	person *console.Person // of the console; nil for who has the token
}

type callerKey struct{}

// callerOf is who asks, in a request that was admitted; otherwise nobody who is known.
func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller)
	return c
}

// asks is in whose name something is asked for: of who has the token, in their own words.
func (c caller) asks(ownWords string) string {
	if c.person != nil {
		return c.person.String()
	}
	return ownWords
}

// admit lets in who has the token, or is known to the console. Otherwise the error says why not,
// and the request is the one that came.
func (a *api) admit(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	console.SetHeaders(w.Header())
	if r.Header.Get("Authorization") == "" && a.console != nil {
		person, err := a.console.Who(r)
		if err != nil {
			return r, err
		}
		trust(r)
		return r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{&person})), nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if ok && a.token != "" && console.SameSecret(token, a.token) {
		trust(r)
		return r, nil
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	refusal := &console.Refusal{Status: http.StatusUnauthorized, Reason: "this needs the admin token"}
	if r.Header.Get("Authorization") == "" {
		return r, refusal
	}
	v := a.wrong.Wrong(a.wrong.From(r))
	if v.TooMany {
		w.Header().Set("Retry-After", console.RetryAfter)
		refusal = &console.Refusal{Status: http.StatusTooManyRequests, Reason: "this needs the admin token, and too many wrong ones came from this address"}
	}
	if v.Log {
		a.log.Warn("admin: a token was refused", "from", a.from(r), "left_out", v.LeftOut)
	}
	return r, refusal
}

// admitToken lets in who has the token, and nobody of the console: what is asked for is for
// programs.
func (a *api) admitToken(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	r, err := a.admit(w, r)
	if err == nil && callerOf(r).person != nil {
		err = &console.Refusal{Status: http.StatusForbidden, Reason: "this is for programs, which show the admin token"}
	}
	return r, err
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	reply(w, statusOf(err), map[string]string{"error": err.Error()})
}

// mayShowPHI says whether who asks may see what a session with protected health information showed:
// who has the token, and people of a console that is said to show it.
func (a *api) mayShowPHI(r *http.Request) error {
	if callerOf(r).person == nil || a.console.ShowsPHI() {
		return nil
	}
	return &console.Refusal{Status: http.StatusForbidden,
		Reason: "this session may hold protected health information, which this console does not show: admin.console.show_phi lets it"}
}

// note writes into the log who did something to what, and what came of it; never what sessions
// showed.
func (a *api) note(r *http.Request, deed string, status int, more ...any) {
	who := "the admin token"
	if p := callerOf(r).person; p != nil {
		who = p.String()
	} else if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
		// Anybody can cause these lines: they are limited as wrong tokens are.
		if !a.strangers.Wrong(a.strangers.From(r)).Log {
			return
		}
		who = "nobody"
	}
	attributes := append([]any{"who", who, "from", a.from(r), "did", deed}, more...)
	for _, name := range []string{"id", "name", "number"} {
		if value := r.PathValue(name); value != "" {
			attributes = append(attributes, map[string]string{"id": "operation", "name": "drain", "number": "dead_letter"}[name], value)
		}
	}
	attributes = append(attributes, "status", status)
	a.log.Info("admin: "+result(status), attributes...)
}

// from returns where a request comes from, for the log.
func (a *api) from(r *http.Request) string {
	if address := a.wrong.From(r); address.IsValid() {
		return address.String()
	}
	return "unix socket"
}

func result(status int) string {
	if status < http.StatusBadRequest {
		return "done"
	}
	return "refused"
}
