package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
)

// caller is the authenticated origin of a request to the API.
type caller struct {
	person *console.Person // a user of the console; nil for a caller with a token
	token  string          // the name of a token other than the admin token
	grant  role.Grant
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
	if c.token != "" && tokenName != "" {
		return tokenName + " (by the token " + c.token + ")"
	}
	return tokenName
}

// String returns the caller for the log.
func (c caller) String() string {
	switch {
	case c.person != nil:
		return c.person.String()
	case c.token != "":
		return "the token " + c.token
	}
	return "the admin token"
}

type needKey struct{}

// needing returns the handler of a route with what its callers have to be permitted, which
// authenticate checks.
func needing(p role.Permission, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		handler(w, r.WithContext(context.WithValue(r.Context(), needKey{}, p)))
	}
}

// admit returns the request of a caller, or an error if the caller's role does not permit it.
func admit(r *http.Request, c caller) (*http.Request, error) {
	trust(r)
	need, _ := r.Context().Value(needKey{}).(role.Permission)
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
	if !c.grant.Role.May(need) {
		return r, &console.Refusal{Status: http.StatusForbidden,
			Reason: fmt.Sprintf("this needs the role %s; yours is %s", role.Sentence(need), c.grant.Role)}
	}
	return r, nil
}

// authenticate accepts tokens, and users who are logged in to the console, if their role permits
// the request. It returns the request with its caller, or an error with the reason.
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
		return admit(r, caller{person: &person, grant: person.Grant})
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if found, known := a.tokens.Find(token); ok && known {
		return admit(r, caller{token: found.Name, grant: found.Grant})
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

// authenticateToken accepts tokens only, for requests that are not meant for browsers.
func (a *api) authenticateToken(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	r, err := a.authenticate(w, r)
	if err == nil && callerOf(r).person != nil {
		err = &console.Refusal{Status: http.StatusForbidden, Reason: "this request needs a token"}
	}
	return r, err
}

// refuse responds with an error.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", openapi.JSON)
	reply(w, statusOf(err), refused{err.Error()})
}

// mayShowPHI returns an error unless the caller may see output of a session that may hold protected
// health information: a grant with PHI is needed and, in the console, show_phi.
func (a *api) mayShowPHI(r *http.Request) error {
	c := callerOf(r)
	if !c.grant.PHI {
		return &console.Refusal{Status: http.StatusForbidden,
			Reason: "this session may hold protected health information, which your token or role does not permit (phi: true)"}
	}
	if c.person == nil || a.console.ShowsPHI() {
		return nil
	}
	return &console.Refusal{Status: http.StatusForbidden,
		Reason: "this session may hold protected health information, which this console does not show unless admin.console.show_phi is set"}
}

// logAction logs who did what and the resulting status, but never session content.
func (a *api) logAction(r *http.Request, action string, status int, more ...any) {
	who := callerOf(r).String()
	if callerOf(r) == (caller{}) && (status == http.StatusUnauthorized || status == http.StatusTooManyRequests) {
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
