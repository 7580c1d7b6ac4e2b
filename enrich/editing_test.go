package enrich

import (
	"strings"
	"testing"
)

// TestEditedInShells: a command of several lines that was recalled at the bottom of the window and edited is found as it ran, in one
// record's text.
func TestEditedInShells(t *testing.T) {
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
