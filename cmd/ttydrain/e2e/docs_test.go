package e2e

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestDocsOnTerminal checks that a terminal gets a rendered page, through the pager. The file
// docs.txtar has the tests of other outputs.
func TestDocsOnTerminal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		env  []string
		args []string
		has  string
		not  string
		ok   bool
	}{
		{"rendered", []string{"PAGER=cat"}, nil, "\x1b[1;4mSyslog\x1b[m", "```", true},
		{"no colour", []string{"PAGER=cat", "NO_COLOR=1"}, nil, "# Syslog drains", "\x1b", true},
		{"dumb", []string{"PAGER=", "TERM=dumb"}, nil, "# Syslog drains", "\x1b", true},
		{"no such pager", []string{"PAGER=/nowhere/pager", "NO_COLOR=1"}, nil, "# Syslog drains", "```", true},
		{"Markdown", []string{"PAGER=false"}, []string{"--markdown"}, "```yaml", "\x1b", true},
		{"pager", []string{"PAGER=sed s/Syslog/PAGED/", "NO_COLOR=1"}, nil, "# PAGED drains", "```", true},
		{"failing pager", []string{"PAGER=false"}, nil, "set PAGER to another program", "Syslog", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := exec.Command(program(t), append([]string{"docs", "syslog"}, test.args...)...)
			c.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=")
			c.Env = append(c.Env, test.env...)
			terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			output, _ := io.ReadAll(terminal) // it ends with EIO when the program does
			err = c.Wait()
			if (err == nil) != test.ok {
				t.Errorf("it ended with %v", err)
			}
			if !strings.Contains(string(output), test.has) || strings.Contains(string(output), test.not) {
				t.Errorf("want %q and no %q:\n%s", test.has, test.not, output)
			}
		})
	}
}
