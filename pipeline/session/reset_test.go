package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndInsideFullScreenProgram: if a session's output had an escape sequence, its terminal is
// reset before the message about its end; the reset is recorded, too.
func TestEndInsideFullScreenProgram(t *testing.T) {
	for shown, want := range map[string]string{
		"\x1b[?1049hvim": "\x1b[?1049hvim" + resetTerminal + "\r\nttydrain: ",
		"$ ":             "$ \r\nttydrain: ",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			s.app.Duration = time.Minute // no warnings
			s.program = func(p *program) Exit {
				p.stdout.Write([]byte(shown))
				<-p.killed
				return Exit{}
			}
			if exit, err := s.run(t.Context()); err != nil || exit.Reason != ReasonExpired {
				t.Fatalf("%+v, %v", exit, err)
			}
			if e := s.ending(); !strings.Contains(e.stdout, want) {
				t.Errorf("shown is %q, want %q in it", e.stdout, want)
			}
		})
	}
}

// TestResetTerminal: after the reset, a real terminal is in the state that a shell expects, and
// shows the message below the content from before the full-screen program.
func TestResetTerminal(t *testing.T) {
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") != "" {
			t.Fatal("tmux is not installed: apt-get install tmux")
		}
		t.Skip("SKIPPED, NOT TESTED: tmux is not installed: apt-get install tmux")
	}
	const flags = "#{alternate_on} #{mouse_any_flag} #{mouse_sgr_flag} #{cursor_flag} #{insert_flag} #{keypad_flag} #{keypad_cursor_flag} #{wrap_flag} #{scroll_region_upper}-#{scroll_region_lower}"
	for name, test := range map[string]struct{ shown, want string }{
		"full screen": {"$ vim\r\n\x1b[?1049h\x1b[H\x1b[?1000h\x1b[?1002h\x1b[?1006h\x1b[?2004h\x1b[?25l\x1b[?1h\x1b=\x1b[2;5r\x1b[4h\x1b[?7l\x1b[1;31m\x1b(0lqk\r\n~\r\n~", "$ vim\n\nttydrain: ended"},
		"shell":       {"$ ls\r\na  b\r\n\x1b[1m$\x1b[0m sleep 1", "$ ls\na  b\n$ sleep 1\nttydrain: ended"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			show := filepath.Join(dir, "shown")
			if err := os.WriteFile(show, []byte(test.shown+resetTerminal+"\r\nttydrain: ended\r\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(args ...string) string {
				t.Helper()
				out, err := exec.Command(tmux, append([]string{"-S", filepath.Join(dir, "socket"), "-f", "/dev/null"}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("tmux %v: %v: %s", args, err, out)
				}
				return string(out)
			}
			run("new-session", "-d", "-x", "80", "-y", "24", "stty raw -echo; cat "+show+"; exec sleep 600")
			defer run("kill-server")
			var screen string
			for range 600 {
				if screen = run("capture-pane", "-p"); strings.Contains(screen, "ended") {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if got := strings.TrimRight(screen, "\n"); got != test.want {
				t.Errorf("the screen is\n%s\nwant\n%s", got, test.want)
			}
			if got, want := strings.TrimSpace(run("display-message", "-p", flags)), "0 0 0 1 0 0 0 1 0-23"; got != want {
				t.Errorf("the modes are %q, want %q", got, want)
			}
		})
	}
}
