package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/audit"
)

// The kinds of rows: the value of the first column. Rows of sessions have the columns of sessions;
// others have a name and a value, and an operation ID where they are about a session.
const (
	rowSession   = "session"
	rowFinding   = "finding"
	rowTotal     = "total"
	rowDrain     = "drain"
	rowRefusal   = "dead letters"
	rowEvent     = "event"
	rowReport    = "report"
	rowInput     = "input"
	rowKey       = "key"
	rowSignature = "signature"
)

// columns returns the names of the columns.
func columns() []string {
	return []string{
		"row", "operation_id", "verdict", "complete", "intact", "proven", "user", "user_id",
		"origin_address", "origin_client", "origin_method", "origin_key", "origin_serial", "origin_ca", "app", "stack", "service", "host", "command", "interactive",
		"started", "ended", "duration_seconds", "end_reason", "exit_status", "ended_by", "ended_because", "records", "findings", "name", "value",
	}
}

// csvWriter writes rows, and keeps the first error.
type csvWriter struct {
	to  *csv.Writer
	err error
}

// row writes a row of cells.
func (w *csvWriter) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = csvCell(cell)
	}
	if w.err == nil {
		w.err = w.to.Write(cells)
	}
}

// fact writes a row with a name and a value, about a session if operation is not "".
func (w *csvWriter) fact(kind, operation, name, value string) {
	cells := make([]string, len(columns()))
	cells[0], cells[1], cells[len(cells)-2], cells[len(cells)-1] = kind, operation, name, value
	w.row(cells...)
}

// csvCell returns a text for a cell: on one line, with visible control characters, and not a
// formula.
func csvCell(text string) string {
	text = visible(text)
	if text != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(text)[0]) {
		return "'" + text
	}
	return text
}

func writeCSV(to io.Writer, r *Report) error {
	w := &csvWriter{to: csv.NewWriter(to)}
	w.to.UseCRLF = true
	w.row(columns()...)
	for i := range r.Sessions {
		w.session(&r.Sessions[i])
	}
	for i := range r.Sessions {
		for _, f := range r.Sessions[i].Findings {
			w.fact(rowFinding, r.Sessions[i].Operation, string(f.Kind), f.String())
		}
	}
	w.totals(&r.Totals)
	if r.Server != nil {
		w.server(r.Server)
	}
	w.about(r)
	w.to.Flush()
	if w.err != nil {
		return w.err
	}
	return w.to.Error()
}

func (w *csvWriter) session(s *Session) {
	end := new(End)
	status := ""
	if s.End != nil {
		end = s.End
		if end.ExitStatus != nil {
			status = strconv.Itoa(*end.ExitStatus)
		}
	}
	seconds := ""
	if !s.Ended.IsZero() {
		seconds = decimal(s.Seconds)
	}
	w.row(rowSession, s.Operation, string(s.Verdict), strconv.FormatBool(s.Complete), strconv.FormatBool(s.Intact), proven(s), s.User, s.UserID,
		s.Address, s.Client, s.Method, s.Key, s.Serial, s.CA, s.App, s.Stack,
		s.Service, s.Host, s.Command, strconv.FormatBool(s.Interactive), clock(s.Started), clock(s.Ended), seconds, s.reason(), status, end.EndedBy, end.EndedBecause,
		strconv.Itoa(s.Records), strconv.Itoa(len(s.Findings)), "", "")
}

func (w *csvWriter) totals(t *Totals) {
	number := func(name string, n int) { w.fact(rowTotal, "", name, strconv.Itoa(n)) }
	number("sessions", t.Sessions)
	number("sessions "+string(audit.Intact), t.Intact)
	number("sessions "+string(audit.Damaged), t.Damaged)
	number("sessions "+string(audit.Incomplete), t.Incomplete)
	number("records", t.Records)
	number("unreadable records", t.UnreadableCount)
	w.fact(rowTotal, "", "duration_seconds", decimal(t.Seconds))
	for _, s := range t.Users {
		number("user "+s.Name, s.Sessions)
	}
	for _, s := range t.Apps {
		number("app "+s.Name, s.Sessions)
	}
	for _, s := range t.Reasons {
		number("end "+s.Name, s.Sessions)
	}
}

func (w *csvWriter) server(s *Server) {
	for _, d := range s.Drains {
		value := fmt.Sprintf("%s; %d records undelivered; %d dead letters", d.State, d.LagRecords, d.DeadLetters)
		if d.LastError != "" {
			value += "; last error at " + clock(d.LastErrorAt) + ": " + d.LastError
		}
		w.fact(rowDrain, "", d.Name, value)
	}
	for _, f := range s.Refusals {
		w.fact(rowRefusal, "", f.Drain, fmt.Sprintf("%d records, from %s to %s: %s", f.Records, clock(f.First), clock(f.Last), f.Reason))
	}
	for i := range s.Events {
		e := &s.Events[i]
		value := fmt.Sprintf("%s by %s via %s from %s: %s", clock(e.Time), e.Actor, e.Via, e.From, e.Outcome)
		if about := e.about(); about != "" {
			value += "; " + about
		}
		w.fact(rowEvent, e.Details["operation"], e.Kind, value)
	}
}

// about writes the rows about the report itself.
func (w *csvWriter) about(r *Report) {
	for _, f := range r.facts() {
		w.fact(rowReport, "", f.Name, f.Value)
	}
	for _, i := range r.Inputs {
		value := "not a file"
		if i.SHA256 != "" {
			value = fmt.Sprintf("SHA-256 %s, %d bytes", i.SHA256, i.Bytes)
		}
		w.fact(rowInput, "", i.Name, value)
	}
	for _, k := range r.Keys {
		w.fact(rowKey, "", k.ID, fmt.Sprintf("signed %d sessions", k.Sessions))
	}
}

// clock formats a time with its offset; "" for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func decimal(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 3, 64) }

// proven describes what the signatures prove of a session.
func proven(s *Session) string {
	text := strings.Join(s.Proven, " ")
	if s.ProvenThrough > 0 {
		text += fmt.Sprintf(" to record %d", s.ProvenThrough)
	}
	return text
}
