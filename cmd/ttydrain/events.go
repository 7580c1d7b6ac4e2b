package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/pipeline/trail"
)

func newEventsCommand() *cobra.Command {
	r := new(remote)
	var kind, actor string
	var after uint64
	var limit int
	var times timeflag.Range
	c := &cobra.Command{
		Use:   "events",
		Short: "List the actions of operators: the audit trail",
		Long: "Lists the actions of operators, the oldest first: who watched, replayed, exported or ended which session, and who changed\n" +
			"drains and dead letters. An action is recorded before it is taken (accepted); a failure is a second event.\n\n" +
			"For the next page, set --after to the last index.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: expected 1 or more", limit)}
			}
			if kind != "" && !slices.Contains(trail.Kinds(), trail.Kind(kind)) {
				return usageError{fmt.Errorf("--kind: %q is not a kind of event: see \"ttydrain docs audit-trail\"", kind)}
			}
			q := url.Values{"kind": {kind}, "actor": {actor}, "limit": {strconv.Itoa(limit)}, "after": {strconv.FormatUint(after, 10)}}
			if err := rangeQuery(q, &times); err != nil {
				return err
			}
			var events []trail.Event
			if printed, err := r.call(c.Context(), http.MethodGet, "audit?"+q.Encode(), nil, &events); printed || err != nil {
				return err
			}
			if len(events) == 0 {
				return printNone("events match")
			}
			w := newTable()
			fmt.Fprintln(w, "INDEX\tTIME\tKIND\tACTOR\tVIA\tFROM\tOUTCOME\tABOUT")
			for i := range events {
				e := &events[i]
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Index, timeflag.Format(e.Time), e.Kind, cell(e.Actor), e.Via, e.From, e.Outcome, cell(aboutEvent(e)))
			}
			return w.Flush()
		},
	}
	r.flags(c)
	f := c.Flags()
	f.StringVar(&kind, "kind", "", "only events of this `KIND`, such as session.kill")
	f.StringVar(&actor, "actor", "", "only events of the operator with this `NAME`")
	f.Uint64Var(&after, "after", 0, "only events with a greater index than `N`")
	f.IntVar(&limit, "limit", 100, "at most `N` events, and never more than 1000")
	rangeFlags(c, &times, "only events")
	return c
}

// aboutEvent returns what an event is about.
func aboutEvent(e *trail.Event) string {
	var about []string
	add := func(name, value string) {
		if value != "" {
			about = append(about, name+" "+value)
		}
	}
	add("session", e.Operation)
	add("sessions", strings.Join(e.Operations, ", "))
	add("user", e.User)
	add("app", e.App)
	add("stack", e.Stack)
	add("drain", e.Drain)
	if e.To != nil {
		add("to", timeflag.Format(*e.To))
	}
	add("dead letter", e.DeadLetter)
	add("reason", e.Reason)
	if e.Status != 0 {
		add("status", strconv.Itoa(e.Status))
	}
	return strings.Join(about, ", ")
}
