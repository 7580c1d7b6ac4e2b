package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/audit"
)

// auditOf runs ttydrain audit, and returns the result for an operation.
func auditOf(t testing.TB, operation string, env []string, args ...string) (found audit.Result, status int) {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"audit", "--operation", operation, "--output", "json"}, args...)...)
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...)
	got := runTo(t, cmd)
	var report struct{ Sessions []audit.Result }
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || len(report.Sessions) != 1 || got.stderr != "" {
		t.Fatalf("audit %q: status %d, %d sessions: %v\n%s", args, got.status, len(report.Sessions), err, got.stderr)
	}
	return report.Sessions[0], got.status
}

// awaitAuditRuns waits until an audit finds a running session, and reports it as running.
func awaitAuditRuns(t testing.TB, v *server, operation string) {
	t.Helper()
	await(t, "until an audit of the stream has a session that runs", func() bool {
		got := ttydrain(t, "audit", "-c", v.site.config, "--admin", v.admin, "--operation", operation)
		if got.status != 3 && !strings.Contains(got.stderr, "there is no session to audit") || got.status == 3 && !strings.Contains(got.stdout, "\n  running: record ") {
			t.Fatalf("the audit of a session that runs: status %d, %s%s", got.status, got.stdout, got.stderr)
		}
		return got.status == 3
	})
}

// auditCopies audits every copy of a session that has ended: each is complete and intact, and a
// copy with a missing record is not.
func auditCopies(t testing.TB, v *server, drains []*destination, operation string) {
	t.Helper()
	lines := auditIntact(t, v, drains, operation)
	file := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(file, []byte(strings.Join(slices.Delete(lines, 4, 5), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := ttydrain(t, "audit", "--from", file, "--operation", operation, "--jwks", "http://"+v.admin+"/.well-known/jwks.json")
	want := fmt.Sprintf("\nsession %s:\n  missing: record 5, at byte ", operation)
	if got.status != 1 || !strings.Contains(got.stdout, want) || got.stderr != "" {
		t.Errorf("the audit of a copy without record 5: status %d, %s%s", got.status, got.stdout, got.stderr)
	}
	report(t, v, drains, operation)
}

// report writes the report of a session from the stream, and verifies it.
func report(t testing.TB, v *server, drains []*destination, operation string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	got := ttydrain(t, "report", "-c", v.site.config, "--admin", v.admin, "--operation", operation, "--output", "json", "-o", file)
	data, err := os.ReadFile(file)
	if err != nil || got.status != 0 || got.stdout+got.stderr != "" {
		t.Fatalf("report: status %d, %s%s, %v", got.status, got.stdout, got.stderr, err)
	}
	var found struct {
		Verdict  audit.Verdict
		Sessions []struct {
			Ended time.Time
			End   struct{ Reason string }
		}
		Server struct{ Drains []struct{ Name string } }
	}
	if err := json.Unmarshal(data, &found); err != nil || found.Verdict != audit.Intact || len(found.Sessions) != 1 || found.Sessions[0].Ended.IsZero() ||
		found.Sessions[0].End.Reason == "" || len(found.Server.Drains) < len(drains) {
		t.Errorf("the report: %v, %+v", err, found)
	}
	got = ttydrain(t, "audit", "-c", v.site.config, "--report", file)
	if got.status != 0 || !strings.Contains(got.stdout, "the signature is valid") {
		t.Errorf("the verification of the report: status %d, %s%s", got.status, got.stdout, got.stderr)
	}
}

// auditIntact audits every copy of a session that has ended: each is complete and intact. It
// returns the lines of the first.
func auditIntact(t testing.TB, v *server, drains []*destination, operation string) (first []string) {
	t.Helper()
	intact := func(copied string, exact bool, env []string, args ...string) {
		t.Helper()
		found, status := auditOf(t, operation, env, args...)
		proven := []string{"who", "where", "when", "texts", "order"}
		if exact {
			proven = []string{"who", "where", "when", "bytes", "texts", "order"}
		}
		if status != 0 || found.Verdict != audit.Intact || !slices.Equal(found.Proven, proven) {
			t.Errorf("the audit of %s: status %d, %+v", copied, status, found)
		}
	}
	intact("the stream", true, nil, "-c", v.site.config, "--admin", v.admin)
	keys := []string{"--jwks", "http://" + v.admin + "/.well-known/jwks.json"}
	for i, d := range drains {
		if d.url != "" {
			intact(d.name, d.exact, []string{"ELASTICSEARCH_API_KEY=" + d.reader(t)}, append(keys, "--from", d.url)...)
			continue
		}
		var lines []string
		for _, r := range d.arrived(t, 0) {
			lines = append(lines, r.Whole)
		}
		file := filepath.Join(t.TempDir(), "copy")
		write := func(lines []string) {
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(lines)
		intact(d.name, d.exact, nil, append(keys, "--from", file)...)
		if i == 0 {
			first = lines
		}
	}
	return first
}
