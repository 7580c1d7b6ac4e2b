package admin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDashboard checks that Prometheus can parse every query of the dashboard after Grafana has
// replaced its variables. A test in cmd/ttydrain/e2e checks that the metrics exist.
func TestDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(Dashboard(), &d); err != nil {
		t.Fatal(err)
	}
	grafana := strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h", "$drain", "(siem|audit)")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr := grafana.Replace(target.Expr)
			if strings.Contains(expr, "$") || !strings.Contains(expr, "ttydrain_") {
				t.Errorf("panel %s asks %s", p.Title, expr)
			}
			fmt.Fprintf(&rules, "  - {record: \"query_%d\", expr: %q}\n", n, expr)
			n++
		}
	}
	if n < 10 {
		t.Fatalf("the dashboard has %d queries", n)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "check", "rules", "rules.yml")
}
