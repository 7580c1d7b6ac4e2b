package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/audit"
)

//go:embed report.html
var page string

//go:embed report.css
var style string

// maxText is the maximum length of a text in HTML, in characters. JSON and CSV have all.
const maxText = 400

// printed returns the style of the pages' margins in print.
func printed(r *Report) string {
	// The form of the values is that of times and verdicts, so that they need no escapes.
	return fmt.Sprintf("@page { @top-left { content: \"ttydrain session report\" } @top-right { content: \"Sessions begun: %s\" } "+
		"@bottom-left { content: \"Made %s\" } }\n", r.Parameters.Period(), clock(r.Made.At))
}

// writeHTML writes a report as a page, up to the place of its signature.
func writeHTML(w io.Writer, r *Report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"clock": clock, "duration": duration, "visible": shorten, "plural": plural,
		"proven": func(s *Session) string { return strings.ReplaceAll(proven(s), " ", ", ") },
		"ended":  func(s Session) string { return s.howEnded() },
		"origin": func(s Session) []string { return s.origin() },
		"about":  func(e Event) string { return e.about() },
		"sums":   func(title, column string, list []Sum) sumTable { return sumTable{title, column, list} },
		"mark": func(v audit.Verdict) string {
			return map[audit.Verdict]string{audit.Intact: "✓", audit.Damaged: "✗", audit.Incomplete: "!"}[v]
		},
	}).Parse(page)
	if err != nil {
		return err
	}
	css := "\n" + style + printed(r)
	sum := sha256.Sum256([]byte(css))
	view := struct {
		*Report
		Style    template.CSS
		StyleSum string
		Period   string
		Facts    []fact
		Found    []*Session // with findings
		Gaps     []gapRow
	}{r, template.CSS(css), base64.StdEncoding.EncodeToString(sum[:]), r.Parameters.Period(), r.facts(), nil, nil}
	for i := range r.Sessions {
		s := &r.Sessions[i]
		if len(s.Findings) > 0 {
			view.Found = append(view.Found, s)
		}
		for _, f := range s.Findings {
			if f.Kind == audit.Gap {
				view.Gaps = append(view.Gaps, gapRow{s.Operation, f})
			}
		}
	}
	return t.Execute(w, view)
}

// sumTable is a table of sums.
type sumTable struct {
	Title, Column string
	Sums          []Sum
}

// gapRow is a reported gap of a session.
type gapRow struct {
	Operation string
	audit.Finding
}

// shorten returns a visible text of limited length.
func shorten(text string) string {
	runes := []rune(visible(text))
	if len(runes) <= maxText {
		return string(runes)
	}
	return fmt.Sprintf("%s… (%d more characters)", string(runes[:maxText]), len(runes)-maxText)
}

// plural returns a number with a noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
