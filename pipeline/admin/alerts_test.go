package admin

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// promtool runs Prometheus's tool for rules.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: promtool is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: promtool is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// TestAlerts checks with promtool that the rules are valid, and that each alert fires when it
// should, with the expected texts.
func TestAlerts(t *testing.T) {
	promtool(t, ".", "check", "rules", "alerts.yml")
	promtool(t, "testdata", "test", "rules", "alerts_test.yml")
}

// TestAlertsAreComplete checks that each alert has a severity, a summary, and a remedy with a
// command, and is covered by a test.
func TestAlertsAreComplete(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Labels      struct{ Severity string }
				Annotations struct{ Summary, Description string }
			}
		}
	}
	if err := yaml.Unmarshal(Alerts(), &rules); err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			n++
			if s := r.Labels.Severity; s != "critical" && s != "warning" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			if a := r.Annotations; a.Summary == "" || !strings.Contains(a.Description, "`") && !strings.Contains(a.Description, "log") {
				t.Errorf("%s: it does not say what to do: %+v", r.Alert, a)
			}
			if !bytes.Contains(tests, fmt.Appendf(nil, "- alertname: %s\n", r.Alert)) {
				t.Errorf("%s: no test makes it fire", r.Alert)
			}
		}
	}
	if n == 0 {
		t.Error("there are no alerts")
	}
}
