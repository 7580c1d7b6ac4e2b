package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
)

// defaultEvents and maxEvents are the default and the maximum number of events in a list.
const (
	defaultEvents = 100
	maxEvents     = 1000
)

// event returns the event for a request, with its caller and what its path names.
func (a *api) event(r *http.Request, kind trail.Kind) trail.Event {
	e := trail.Event{Kind: kind, Actor: callerOf(r).String(), Via: trail.ViaToken, From: a.from(r),
		Operation: r.PathValue("id"), Drain: r.PathValue("name"), DeadLetter: r.PathValue("number")}
	if callerOf(r).person != nil {
		e.Via = trail.ViaConsole
	}
	return e
}

// audit returns a handler that records an action of this kind before it takes it.
func (a *api) audit(kind trail.Kind, handle func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (value any, err error) {
		err = a.audited(r, a.event(r, kind), func() error {
			value, err = handle(r)
			return err
		})
		return value, err
	}
}

// audited records an action before it takes it, and does not take it if that fails. It also records
// the action's failure.
func (a *api) audited(r *http.Request, e trail.Event, act func() error) error {
	if err := a.recordView(r, e, nil); err != nil {
		return err
	}
	err := act()
	if err != nil {
		_ = a.recordView(r, e, err) // returns err
	}
	return err
}

// recordView records that the caller is about to see something or, with an error, that it was
// refused. It returns the error of the view, or of recording it.
func (a *api) recordView(r *http.Request, e trail.Event, refused error) error {
	if a.trail == nil {
		return refused
	}
	e.Outcome = trail.Accepted
	if refused != nil {
		e.Outcome, e.Status = trail.Failed, statusOf(refused)
	}
	err := a.trail.Publish(r.Context(), &e)
	switch {
	case err != nil && refused != nil:
		a.log.Error("admin: the failure of an action is not in the audit trail", "kind", string(e.Kind), "error", err)
	case err != nil:
		return fmt.Errorf("nothing was done, because it could not be recorded: %w", err)
	}
	return refused
}

// eventKinds returns the names of all kinds of events.
func eventKinds() []string {
	var names []string
	for _, k := range trail.Kinds() {
		names = append(names, string(k))
	}
	return names
}

func (a *api) auditRoutes() []route {
	kinds := "`" + strings.Join(eventKinds(), "`, `") + "`"
	return []route{a.json(openapi.Operation{ID: "listEvents", Tag: tagAudit, Method: http.MethodGet, Path: "/api/v1/audit", Summary: "List the actions of operators",
		About: "The oldest come first, at most 1,000 of them. For pages, set `after` to the last index of the page before. " +
			"An action is recorded as `accepted` before it is taken; if it fails, a second event has the outcome `failed`.",
		Query: []openapi.Parameter{{Name: "since", Kind: openapi.Time, About: "only events at this time or later"},
			{Name: "until", Kind: openapi.Time, About: "only events before this time"},
			{Name: "kind", About: "only of this kind: " + kinds},
			{Name: "actor", About: "only of this actor, in upper or lower case"},
			{Name: "after", Kind: openapi.Integer, About: "only events with a greater index"},
			{Name: "limit", Kind: openapi.Count, About: "the maximum number of events (default 100)"}},
		Result: openapi.Result{About: "The events.", Value: []trail.Event{}}, Refusals: []int{http.StatusNotFound}}, "", a.events)}
}

func (a *api) events(r *http.Request) (any, error) {
	if a.trail == nil {
		return nil, fmt.Errorf("%w: this server keeps no audit trail", operate.ErrNotFound)
	}
	q := r.URL.Query()
	f := trail.Filter{Since: timeOf(r, "since"), Until: timeOf(r, "until"), Kind: trail.Kind(q.Get("kind")), Actor: q.Get("actor")}
	f.After, _ = strconv.ParseUint(q.Get("after"), 10, 64) // checked: see checkQuery
	limit, _ := strconv.Atoi(q.Get("limit"))
	f.Limit = min(cmp.Or(limit, defaultEvents), maxEvents)
	return a.trail.List(r.Context(), f)
}
