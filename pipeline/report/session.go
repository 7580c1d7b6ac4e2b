package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// Session is a session with its verdict.
type Session struct {
	audit.Result
	details
}

// details complete the result of a session's audit. The signed values are preferred to those of the
// records.
type details struct {
	UserID string `json:"user_id,omitempty"`
	schema.Origin
	Stack       string    `json:"stack,omitempty"`
	Service     string    `json:"service,omitempty"`
	Host        string    `json:"host,omitempty"` // of the gateway
	Container   string    `json:"container,omitempty"`
	Command     string    `json:"command,omitempty"` // "" for the app's own
	Interactive bool      `json:"interactive"`
	Ended       time.Time `json:"ended,omitzero"`
	Seconds     float64   `json:"duration_seconds,omitempty"`
	End         *End      `json:"end,omitempty"` // nil without an end record
}

// End holds the details of a session's end record.
type End struct {
	Reason       string `json:"reason"`
	ExitStatus   *int   `json:"exit_status,omitempty"`
	EndedBy      string `json:"ended_by,omitempty"` // the operator
	EndedBecause string `json:"ended_because,omitempty"`
}

// Reasons of sessions without an end record.
const (
	reasonRunning = "running"
	reasonNone    = "no end"
)

// reason returns the reason of the session's end.
func (s *Session) reason() string {
	switch {
	case s.End != nil:
		return s.End.Reason
	case slices.ContainsFunc(s.Findings, func(f audit.Finding) bool { return f.Kind == audit.Running }):
		return reasonRunning
	}
	return reasonNone
}

// maxFingerprint is the length of the beginning of a fingerprint that identifies a key in a table.
const maxFingerprint = len("SHA256:") + 8

// origin describes where the session came from, in lines; nil if that is not known.
func (s *Session) origin() (lines []string) {
	method := s.Method
	if s.Serial != "" {
		method += " " + s.Serial
	}
	key := s.Key
	if len(key) > maxFingerprint {
		key = key[:maxFingerprint] + "…"
	}
	for _, line := range []string{s.Address, method, key, s.Client} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// howEnded describes the session's end in a line.
func (s *Session) howEnded() string {
	text := s.reason()
	if s.End == nil {
		return text
	}
	if s.End.ExitStatus != nil {
		text += fmt.Sprintf(", status %d", *s.End.ExitStatus)
	}
	if s.End.EndedBy != "" {
		text += ", by " + s.End.EndedBy
	}
	if s.End.EndedBecause != "" {
		text += ": " + s.End.EndedBecause
	}
	return text
}

// Collector collects the details of sessions while they are audited: its Add is the Checked of an
// [audit.Checker]. It is not safe for concurrent use.
type Collector struct {
	sessions []collected
	keys     map[string]int // numbers of sessions by the ID of the key that signed them
}

// collected are the details of one session.
type collected struct {
	operation string
	user, app string // as signed; "" if they are not
	details
}

// Add adds a session that was audited.
func (c *Collector) Add(s *replay.Session, r *audit.Result) {
	op := s.Operation
	one := collected{operation: r.Operation}
	d := details{UserID: op.User.ID, Origin: op.Origin, Stack: op.Stack, Service: op.Service, Host: op.Host, Container: op.Container, Command: op.Command, Interactive: op.Interactive}
	if signed := r.Signed; signed != nil {
		one.user, one.app = audit.UserText(signed["operation_user_name"], signed["operation_user_email"]), signed["app"]
		d.Origin = schema.OriginOf(signed)
		d.UserID, d.Stack, d.Service, d.Host = signed[schema.FieldUserID], signed["stack"], signed["service"], signed["host"]
		d.Container, d.Command, d.Interactive = signed["container"], signed["command"], signed["interactive"] == "true"
	}
	signer := ""
	if end := s.End(); end != nil && end.Detail != nil {
		e := end.Detail
		d.End = &End{Reason: e.Reason, ExitStatus: e.ExitStatus, EndedBy: e.EndedBy, EndedBecause: e.EndedBecause}
		if end.Time != 0 && !end.Lost.Has(replay.LostTime) {
			d.Ended = time.Unix(0, end.Time)
		}
		if !d.Ended.IsZero() && !r.Started.IsZero() {
			d.Seconds = max(0, d.Ended.Sub(r.Started).Seconds())
		}
		signer = identity.SignedBy(e.Signature)
	}
	if signer == "" && len(s.Records) > 0 && s.Records[0].Detail != nil {
		signer = identity.SignedBy(s.Records[0].Detail.Signature)
	}
	if signer != "" {
		if c.keys == nil {
			c.keys = make(map[string]int)
		}
		c.keys[signer]++
	}
	one.details = d
	c.sessions = append(c.sessions, one)
}

// Report returns the report of an audit. Its times are in the zone of the time when it is made.
func (c *Collector) Report(a *audit.Report, made Made) *Report {
	r := &Report{Version: Version, Made: made, Inputs: []Input{}, Keys: []Key{}, Verdict: a.Verdict, Sessions: make([]Session, 0, len(a.Sessions))}
	// The order of the audit.
	slices.SortStableFunc(c.sessions, func(a, b collected) int {
		return cmp.Or(len(a.operation)-len(b.operation), strings.Compare(a.operation, b.operation))
	})
	next := 0
	for _, result := range a.Sessions {
		s := Session{Result: result}
		if next < len(c.sessions) && c.sessions[next].operation == result.Operation {
			one := &c.sessions[next]
			s.User, s.App, s.details = cmp.Or(one.user, s.User), cmp.Or(one.app, s.App), one.details
			next++
		}
		r.Sessions = append(r.Sessions, s)
	}
	slices.SortStableFunc(r.Sessions, func(a, b Session) int { return a.Started.Compare(b.Started) })
	for id, n := range c.keys {
		r.Keys = append(r.Keys, Key{id, n})
	}
	slices.SortFunc(r.Keys, func(a, b Key) int { return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.ID, b.ID)) })

	r.Totals.Summary = a.Summary
	users, apps, reasons := make(sums), make(sums), make(sums)
	for i := range r.Sessions {
		s := &r.Sessions[i]
		r.Totals.Seconds += s.Seconds
		users.add(s.User, s.Seconds)
		apps.add(s.App, s.Seconds)
		reasons.add(s.reason(), s.Seconds)
	}
	r.Totals.Users, r.Totals.Apps, r.Totals.Reasons = users.sorted(), apps.sorted(), reasons.sorted()
	return r
}
