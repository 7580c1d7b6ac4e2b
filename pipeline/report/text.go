package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// visible returns a text with the numbers of hidden characters, such as ‹U+001B› for escape.
// Symbols such as ␛ are missing in many fonts.
func visible(text string) string {
	if strings.IndexFunc(text, schema.IsHidden) < 0 {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	var b strings.Builder
	for _, r := range text {
		if schema.IsHidden(r) {
			fmt.Fprintf(&b, "‹U+%04X›", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// duration formats seconds for people, such as "1 h 02 min".
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	switch {
	case seconds == 0:
		return "–"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", seconds)
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
}

// Period describes the range of time in which the sessions began.
func (p *Parameters) Period() string {
	switch since, until := clock(p.Since), clock(p.Until); {
	case since == "" && until == "":
		return "any time"
	case until == "":
		return "since " + since
	case since == "":
		return "until " + until
	default:
		return since + " to " + until
	}
}

// fact is a named value of a report.
type fact struct{ Name, Value string }

// facts returns what a report says of itself.
func (r *Report) facts() []fact {
	m, p := &r.Made, &r.Parameters
	commit := cmp.Or(m.Commit, "unknown")
	if m.Modified {
		commit += ", with local changes"
	}
	signed := "no: nothing proves this report"
	if m.Signed {
		signed = "with the key " + m.Key
	}
	list := []fact{
		{"verdict", string(r.Verdict)}, {"period", p.Period()}, {"made at", clock(m.At)}, {"time zone", m.TimeZone},
		{"ttydrain", m.Program}, {"commit", commit}, {"signed", signed},
	}
	for _, f := range []fact{{"stack", p.Stack}, {"app", p.App}, {"user", p.User}, {"operation", p.Operation}} {
		if f.Value != "" {
			list = append(list, f)
		}
	}
	return list
}
