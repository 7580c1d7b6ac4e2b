package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/audit"
)

// Version is the version of a report's form. Fields may be added to a version.
const Version = 1

// Report is the content of a report. All its times have the time zone in which they are shown.
type Report struct {
	Version    int        `json:"report_version"`
	Made       Made       `json:"made"`
	Parameters Parameters `json:"parameters"`
	// Inputs are the copies that were read, and Keys those whose signatures the sessions have.
	Inputs []Input `json:"inputs"`
	Keys   []Key   `json:"keys"`
	// Verdict is that of the audit of all selected sessions.
	Verdict  audit.Verdict `json:"verdict"`
	Totals   Totals        `json:"totals"`
	Sessions []Session     `json:"sessions"` // the earliest first
	// Server is the state of the running ttydrain; nil if none was asked.
	Server *Server `json:"server,omitempty"`
}

// Made describes the making of a report.
type Made struct {
	At       time.Time `json:"at"`
	TimeZone string    `json:"time_zone"` // of all times in the report
	Program  string    `json:"version"`
	Commit   string    `json:"commit,omitempty"`
	// Modified reports that the program was built from a changed work tree.
	Modified bool `json:"modified,omitempty"`
	// Signed reports that the report is signed, and Key is the ID of the key.
	Signed bool   `json:"signed"`
	Key    string `json:"key,omitempty"`
}

// Parameters select the sessions of a report. Empty ones select all.
type Parameters struct {
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Stack     string    `json:"stack,omitempty"`
	App       string    `json:"app,omitempty"`
	User      string    `json:"user,omitempty"`
	Operation string    `json:"operation_id,omitempty"`
}

// Input is a copy that was read: a file, or the address of a server, which has no digest.
type Input struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// Key is a key that the signatures of sessions name. Verdicts state whether they are valid.
type Key struct {
	ID       string `json:"id"`
	Sessions int    `json:"sessions"` // whose start or end it signed
}

// Totals are the sums over all sessions of a report.
type Totals struct {
	audit.Summary
	// Seconds is the sum of the durations of all sessions with an end.
	Seconds float64 `json:"duration_seconds"`
	Users   []Sum   `json:"users"` // the most sessions first, as the two that follow
	Apps    []Sum   `json:"apps"`
	Reasons []Sum   `json:"reasons"`
}

// Sum is the sum over the sessions that have something in common.
type Sum struct {
	Name     string  `json:"name"`
	Sessions int     `json:"sessions"`
	Seconds  float64 `json:"duration_seconds"`
}

// Server is the state of a running ttydrain when the report was made.
type Server struct {
	Address string  `json:"address"`
	Drains  []Drain `json:"drains"`
	// Refusals are the dead letters of the report's period.
	Refusals []Refusal `json:"dead_letters"`
	// Events are the audit trail of the report's period, the earliest first; nil if there is none.
	Events []Event `json:"audit_trail,omitempty"`
}

// Event is an action of an operator.
type Event struct {
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Actor   string    `json:"actor"`
	Via     string    `json:"via"`
	From    string    `json:"from"`
	Outcome string    `json:"outcome"`
	// Details are the other fields of the event, by their names in the API.
	Details map[string]string `json:"details,omitempty"`
}

// about returns the details in a line.
func (e *Event) about() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+e.Details[name])
	}
	return strings.Join(parts, ", ")
}

// Drain is the state of a drain.
type Drain struct {
	Name        string    `json:"name"`
	State       string    `json:"state"`
	LagRecords  uint64    `json:"lag_records"`
	LagSeconds  float64   `json:"lag_seconds"`
	Delivered   uint64    `json:"delivered"`
	DeadLetters uint64    `json:"dead_letters"` // of any time
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Refusal counts the records that a drain refused for one reason.
type Refusal struct {
	Drain   string    `json:"drain"`
	Reason  string    `json:"reason"`
	Records int       `json:"records"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// localize sets the time zone of all times.
func (r *Report) localize(zone *time.Location) {
	set := func(times ...*time.Time) {
		for _, t := range times {
			if !t.IsZero() {
				*t = t.In(zone)
			}
		}
	}
	set(&r.Made.At, &r.Parameters.Since, &r.Parameters.Until)
	for i := range r.Sessions {
		set(&r.Sessions[i].Started, &r.Sessions[i].Ended)
	}
	if r.Server == nil {
		return
	}
	for i := range r.Server.Drains {
		set(&r.Server.Drains[i].LastErrorAt)
	}
	for i := range r.Server.Events {
		set(&r.Server.Events[i].Time)
	}
	for i := range r.Server.Refusals {
		set(&r.Server.Refusals[i].First, &r.Server.Refusals[i].Last)
	}
}

// sums adds up sessions by a name.
type sums map[string]*Sum

func (s sums) add(name string, seconds float64) {
	one := s[name]
	if one == nil {
		one = &Sum{Name: name}
		s[name] = one
	}
	one.Sessions++
	one.Seconds += seconds
}

// sorted returns the sums, the most sessions first.
func (s sums) sorted() []Sum {
	list := make([]Sum, 0, len(s))
	for _, name := range slices.Sorted(maps.Keys(s)) {
		list = append(list, *s[name])
	}
	slices.SortStableFunc(list, func(a, b Sum) int { return cmp.Compare(b.Sessions, a.Sessions) })
	return list
}
