package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
)

// caller is the authenticated origin of a request to the API.
type caller struct {
	person *console.Person // a user of the console; nil for a caller with the admin token
}

type callerKey struct{}

// bearer is the challenge to callers without authentication (RFC 9110 §11.6.1).
const bearer = "Bearer"

// callerOf returns the caller of an authenticated request, or else the zero value.
func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller)
	return c
}

// nameOr returns the name of the console's user, or else tokenName, the name that a caller with the
// token has sent.
func (c caller) nameOr(tokenName string) string {
	if c.person != nil {
		return c.person.String()
	}
	return tokenName
}

// authenticate accepts the admin token, and users who are logged in to the console. It returns the
// request with its caller, or an error with the reason.
func (a *api) authenticate(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	console.SetHeaders(w.Header())
	if r.Header.Get("Authorization") == "" && a.console != nil {
		person, err := a.console.Identify(r)
		if err != nil {
			if statusOf(err) == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", bearer)
			}
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
	w.Header().Set("WWW-Authenticate", bearer)
	refusal := &console.Refusal{Status: http.StatusUnauthorized, Reason: "this needs the admin token"}
	if r.Header.Get("Authorization") == "" {
		return r, refusal
	}
	v := a.wrong.Wrong(a.wrong.From(r))
	if v.TooMany {
		w.Header().Set("Retry-After", console.RetryAfter)
		refusal = &console.Refusal{Status: http.StatusTooManyRequests, Reason: "this needs the admin token, and too many wrong tokens came from this address"}
	}
	if v.Log {
		a.log.Warn("admin: token refused", "from", a.from(r), "left_out", v.LeftOut)
	}
	return r, refusal
}

// authenticateToken accepts the admin token only, for requests that are not meant for browsers.
func (a *api) authenticateToken(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	r, err := a.authenticate(w, r)
	if err == nil && callerOf(r).person != nil {
		err = &console.Refusal{Status: http.StatusForbidden, Reason: "this request needs the admin token"}
	}
	return r, err
}

// refuse responds with an error.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", openapi.JSON)
	reply(w, statusOf(err), refused{err.Error()})
}

// mayShowPHI returns an error unless the caller may see output of a session that may hold protected
// health information: callers with the token may, and users of a console with show_phi.
func (a *api) mayShowPHI(r *http.Request) error {
	if callerOf(r).person == nil || a.console.ShowsPHI() {
		return nil
	}
	return &console.Refusal{Status: http.StatusForbidden,
		Reason: "this session may hold protected health information, which this console does not show unless admin.console.show_phi is set"}
}

// logAction logs who did what and the resulting status, but never session content.
func (a *api) logAction(r *http.Request, action string, status int, more ...any) {
	who := "the admin token"
	if p := callerOf(r).person; p != nil {
		who = p.String()
	} else if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
		// Anyone can cause these lines, so their rate is limited like that of wrong tokens.
		if !a.unauthenticated.Wrong(a.unauthenticated.From(r)).Log {
			return
		}
		who = "nobody"
	}
	attributes := append([]any{"who", who, "from", a.from(r), "did", action}, more...)
	for _, name := range []string{"id", "name", "number"} {
		if value := r.PathValue(name); value != "" {
			attributes = append(attributes, map[string]string{"id": "operation", "name": "drain", "number": "dead_letter"}[name], value)
		}
	}
	attributes = append(attributes, "status", status)
	a.log.Info("admin: "+result(status), attributes...)
}

// from returns the source of a request, for the log.
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
