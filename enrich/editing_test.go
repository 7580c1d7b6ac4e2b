package enrich

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEditedCommandsInShells: a multi-line command that was recalled at the bottom of the window
// and edited is in one record's text as it was executed.
func TestEditedCommandsInShells(t *testing.T) {
	right := func(n int) string { return strings.Repeat("\x1b[C", n) }
	left := func(n int) string { return strings.Repeat("\x1b[D", n) }
	const up, down, home, end, back = "\x1b[A", "\x1b[B", "\x01", "\x05", "\x7f"
	for _, test := range []struct {
		program string
		args    []string
		keys    []key
		want    string
	}{
		{"bash", []string{"--norc", "--noprofile", "+H", "-i"}, []key{
			{"<1> ", "shopt -s cmdhist lithist; PS2='> '\r"},
			{"<2> ", "for i in 1 2; do\r"}, {"> ", "echo /srv/$i\r"}, {"> ", "done\r"},
			{"<3> ", "seq 30\r"},
			{"<4> ", up + up + home + right(9) + "\x04\x04\x047 8\r"},
			{"<5> ", "exit\r"},
		}, "<4> for i in 7 8; do ⏎ echo /srv/$i ⏎ done"},
		{"bash", []string{"--norc", "--noprofile", "+H", "-i"}, []key{
			{"<1> ", "shopt -s cmdhist lithist; PS2='> '\r"},
			{"<2> ", "for i in 1 2; do\r"}, {"> ", "echo /srv/$i\r"}, {"> ", "done\r"},
			{"<3> ", "seq 30\r"},
			{"<4> ", up + up + left(8) + back + back + back + "opt\r"},
			{"<5> ", "exit\r"},
		}, "echo /opt/$i ⏎ done"},
		{"zsh", []string{"-f", "-i"}, []key{
			{"", "PROMPT='<%h> '; PROMPT2='> '; unsetopt prompt_sp; bindkey -e\r"},
			{"<2> ", "for i in 1 2; do\r"}, {"> ", "echo /srv/$i\r"}, {"> ", "done\r"},
			{"<3> ", "seq 30\r"},
			{"<4> ", up + up + up + up + home + right(9) + "\x04\x04\x047 8" + down + down + end + "\r"},
			{"<5> ", "exit\r"},
		}, "<4> for i in 7 8; do ⏎ echo /srv/$i ⏎ done"},
	} {
		t.Run(test.program, func(t *testing.T) {
			records := textsOf(t, 40, 10, play(t, 40, 10, t.TempDir(), test.keys, test.program, test.args...))
			var all []string
			for _, r := range records {
				if strings.Contains(string(r.Text), test.want) {
					return
				}
				all = append(all, string(r.Text))
			}
			t.Errorf("%q is in no text; they are\n%s", test.want, strings.Join(all, "\n"))
		})
	}
}

// TestEditedCommandsInPsql: the same for a database client. The recording was made once, with psql
// 15.
func TestEditedCommandsInPsql(t *testing.T) {
	width, height, all := load(t, filepath.Join("testdata", "editing", "psql.cast"))
	want := "postgres=# select 'edited' as one, ⏎ 'second' as two ⏎ where true;"
	found := 0
	for _, r := range textsOf(t, width, height, all) {
		if string(r.Text) == want {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%q is the text of %d records, want 1", want, found)
	}
}

// TestTypedTextInFullScreenPrograms: text that was typed in one of two panes, on vi's ":" line and
// on less's "/" line is in a record's text, although the rows have other content at the record's
// end.
func TestTypedTextInFullScreenPrograms(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("one line\n", 30)+"a needle\n"+strings.Repeat("more\n", 30)), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "tmux")
	for _, test := range []struct {
		program string
		args    []string
		keys    []key
		want    []string
	}{
		{"tmux", []string{"-S", socket, "-f", "/dev/null", "new-session", "cat", ";", "split-window", "-h", `PS1='<right \#> ' bash --norc --noprofile -i`}, []key{
			{"<right 1>", "echo typed in a pane\r"}, {"<right 2>", pause + "seq 50\r"}, {"<right 3>", pause + "\x02d"},
		}, []string{"<right 1> echo typed in a pane"}},
		{"vi", []string{"-u", "NONE", "-i", "NONE", "-n", file}, []key{
			{"one line", pause + ":%s/one/two/g\r"}, {"substitutions", ":w\r"}, {"written", pause + ":q\r"},
		}, []string{erasedMark + ":%s/one/two/g", erasedMark + ":w"}},
		{"less", []string{file}, []key{
			{"/file", pause + "/nee" + pause + "dle\r"}, {"a ", pause + "q"},
		}, []string{erasedMark + "/needle"}},
	} {
		t.Run(test.program, func(t *testing.T) {
			defer exec.Command("tmux", "-S", socket, "kill-server").Run() // it may have ended
			records := textsOf(t, 70, 12, play(t, 70, 12, dir, test.keys, test.program, test.args...))
			var all []string
			for _, r := range records {
				all = append(all, string(r.Text))
			}
			for _, want := range test.want {
				if !strings.Contains(strings.Join(all, "\n"), want) {
					t.Errorf("%q is in no text; they are\n%s", want, strings.Join(all, "\n"))
				}
			}
		})
	}
}
