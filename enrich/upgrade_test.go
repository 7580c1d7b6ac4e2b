package enrich

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStateOfVersionOne: a session continues where an enricher of an older version stopped. The
// states were written by that version, and never change.
func TestStateOfVersionOne(t *testing.T) {
	for _, test := range []struct{ state, shown, text string }{
		{"partial", "\b\x1b[K!\r\n", "$ ls -l größe!"},
		{"alternate", "\x1b(B\x1b[2;3H1\x1b[?1049l\x1b[K", "1ne"},
		{"fresh", "$ ls\b\bcd\r\n", "$ cd"},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "v1", "terminal-"+test.state+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		terminal, ok := readState(data)
		if !ok || terminal.width != 40 || terminal.height != 6 {
			t.Fatalf("%s: not read: %+v", test.state, terminal)
		}
		text, _ := terminal.read(nil, piece{log: []byte(test.shown), cause: whole}, new(Buffers))
		if string(text) != test.text {
			t.Errorf("%s: %q reads %q, expected %q", test.state, test.shown, text, test.text)
		}
		if again, ok := readState(terminal.appendState(nil)); !ok || again.width != 40 {
			t.Errorf("%s: the state after it is not read", test.state)
		}
	}
}
