package e2e

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// demoCommand returns a demo with ports of its own.
func demoCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--dir", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "ELASTICSEARCH_URL=")
	return cmd
}

// TestDemo runs the story to its end, where it checks itself.
func TestDemo(t *testing.T) {
	t.Parallel()
	got := runTo(t, demoCommand(t, t.TempDir(), "--once"))
	if got.status != 0 || got.stderr != "" || strings.Contains(got.stdout, "FAILED") {
		t.Fatalf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	if checks := strings.Count(got.stdout, "\n  ok     "); checks != 6 {
		t.Errorf("%d checks:\n%s", checks, got.stdout)
	}
	_, changed, _ := strings.Cut(got.stdout, "== One byte changed: ")
	if !regexp.MustCompile(`(?m)^  changed: record \d+, at byte \d+, in .*: its text is not the one that was recorded$`).MatchString(changed) {
		t.Errorf("the audit of the changed copy:\n%s", changed)
	}
}

// TestDemoCommands runs the commands that a demo prints as they are written, while it runs.
func TestDemoCommands(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	dir := t.TempDir() + "/my demo"
	demo := demoCommand(t, dir)
	var out output
	demo.Stdout, demo.Stderr = &out, &out
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		demo.Process.Signal(os.Interrupt)
		if err := demo.Wait(); err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	await(t, "for the commands", func() bool { return strings.Contains(out.String(), "the files are in ") })
	_, text, _ := strings.Cut(out.String(), "== Now you: ")
	got := make(map[string]result) // by the first words of the command
	for _, line := range regexp.MustCompile(`(?m)^    (.+)$`).FindAllStringSubmatch(text, -1) {
		command := line[1]
		if strings.HasPrefix(command, "http") {
			if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+/console/link#[A-Z0-9]{26}$`).MatchString(command) {
				t.Errorf("the login link is %s", command)
			}
			got["link"] = result{}
			continue
		}
		shell := exec.Command("sh", "-c", command)
		if strings.HasPrefix(command, "ssh ") {
			shell.Stdin = strings.NewReader("echo typed by a newcomer; exit 7\n")
		} else {
			shell.Stdin = io.NopCloser(strings.NewReader(""))
		}
		words := strings.Fields(strings.Replace(command, program(t), "ttydrain", 1))
		got[words[0]+" "+words[1]] = runTo(t, shell)
		if words[0] == "ssh" {
			await(t, "for the end of the session in the drain's copy", func() bool {
				data, err := os.ReadFile(dir + "/siem.ndjson")
				return err == nil && strings.Count(string(data), `"event":"end"`) == 2
			})
		}
	}
	for command, want := range map[string]struct {
		status int
		says   string
	}{
		"ssh -F":            {7, "typed by a newcomer"},
		"ttydrain sessions": {0, "Ada Lovelace"},
		"ttydrain drains":   {0, "siem"},
		"ttydrain replay":   {0, "connected with a password of"},
		"ttydrain audit":    {0, "intact"},
		"ttydrain console":  {0, "/console/link#"},
		"link":              {0, ""},
	} {
		r, ran := got[command]
		if !ran || r.status != want.status || !strings.Contains(r.stdout, want.says) {
			t.Errorf("%s: %v, %+v\n%s", command, ran, r, text)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d commands:\n%s", len(got), text)
	}
}
