package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/ttydrain/ttydrain/pipeline/admin"
)

const alertsHead = `# Alerts reference

<!-- generated: go test ./cmd/ttydrain/docs -run Reference -update -->

Every alert of ` + "`ttydrain alerts`" + `, generated from its rules and from their [runbooks](runbooks.md). An alert fires when
its expression has had a result for the time in the third column.

| alert | severity | after | metrics |
|---|---|---|---|
`

// TestAlertsReference checks that alerts-reference.md has every alert with its expression and
// meaning. Update it with go test ./cmd/ttydrain/docs -run Reference -update.
func TestAlertsReference(t *testing.T) {
	const file = "alerts-reference.md"
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For string
				Labels           struct{ Severity string }
			}
		}
	}
	if err := yaml.Unmarshal(admin.Alerts(), &rules); err != nil {
		t.Fatal(err)
	}
	meanings := make(map[string]string) // by anchor
	for _, s := range Sections(Page{Topic: "runbooks"}.Markdown()) {
		_, text, _ := strings.Cut(s.Text, "Meaning.")
		text, _, _ = strings.Cut(text, "Impact.")
		meanings[s.Anchor] = strings.Join(strings.Fields(text), " ")
	}
	var table, sections strings.Builder
	n := 0
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			n++
			anchor := strings.ToLower(r.Alert)
			after := r.For
			if after == "0m" {
				after = "at once"
			}
			fmt.Fprintf(&table, "| [%s](#%s) | %s | %s | %s |\n", r.Alert, anchor, r.Labels.Severity, after, strings.Join(metricsIn(r.Expr), ", "))
			if meanings[anchor] == "" {
				t.Errorf("%s has no meaning in runbooks.md", r.Alert)
			}
			fmt.Fprintf(&sections, "\n## %s\n\n%s\n```promql\n%s\n```\n\n[Runbook](runbooks.md#%s)\n", r.Alert, paragraph(meanings[anchor]), r.Expr, anchor)
		}
	}
	if n < 15 {
		t.Errorf("found %d alerts, expected more: the test looks in the wrong place", n)
	}
	checkReference(t, file, alertsHead+table.String()+sections.String())
}

// checkReference checks that a generated page has a text, or writes it with -update.
func checkReference(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != text {
		t.Errorf("%s differs from what it is generated from: update it with -update", file)
	}
}

// metricsIn returns the metrics of an expression as code, each once.
func metricsIn(expression string) (names []string) {
	known := make(map[string]bool)
	for _, name := range strings.FieldsFunc(expression, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		name = strings.TrimSuffix(name, "_bucket")
		if strings.HasPrefix(name, "ttydrain_") && !known[name] {
			known[name] = true
			names = append(names, "`"+name+"`")
		}
	}
	return names
}
