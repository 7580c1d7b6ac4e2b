package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDemo runs the story to its end, where it checks itself.
func TestDemo(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program(t), "demo", "--once", "--listen", "127.0.0.1:0", "--dir", t.TempDir())
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "ELASTICSEARCH_URL=")
	got := runTo(t, cmd)
	if got.status != 0 || got.stderr != "" || strings.Contains(got.stdout, "FAILED") {
		t.Fatalf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	if checks := strings.Count(got.stdout, "\n  ok     "); checks != 4 {
		t.Errorf("%d checks:\n%s", checks, got.stdout)
	}
}
