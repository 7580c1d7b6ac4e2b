package enrich

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// token returns the length of the first indivisible unit in b: a rune or an escape sequence. whole
// is false if b ends within it. It implements the grammar a second time, differently from parser,
// to check the latter.
func token(b []byte) (n int, whole bool) {
	if b[0] != esc {
		if !utf8.FullRune(b) {
			return len(b), false
		}
		_, size := utf8.DecodeRune(b)
		return size, true
	}
	i := 1
	for i < len(b) && b[i] < 0x20 && b[i] != esc && b[i] != can && b[i] != sub {
		i++
	}
	if i == len(b) {
		return i, false
	}
	aborts := func(c byte) bool { return c == can || c == sub }
	switch c := b[i]; {
	case c == esc, c >= utf8.RuneSelf:
		return i, true
	case c == '[':
		for j := i + 1; j < len(b); j++ {
			switch c := b[j]; {
			case c == esc, c >= utf8.RuneSelf:
				return j, true
			case aborts(c), 0x40 <= c && c <= 0x7e:
				return j + 1, true
			}
		}
		return len(b), false
	case strings.IndexByte("]PX^_k", c) >= 0:
		for j := i + 1; j < len(b); j++ {
			switch c := b[j]; {
			case c == bel, aborts(c), c == 0x9c && b[j-1] < utf8.RuneSelf:
				return j + 1, true
			case bytes.HasPrefix(b[j:], []byte("\u009c")), bytes.HasPrefix(b[j:], []byte("\x1b\\")):
				return j + 2, true
			case c == esc && j+1 < len(b):
				return j, true
			}
		}
		return len(b), false
	case 0x20 <= c && c <= 0x2f:
		for j := i + 1; j < len(b); j++ {
			switch c := b[j]; {
			case c == esc, c >= utf8.RuneSelf:
				return j, true
			case aborts(c), c >= 0x30:
				return j + 1, true
			}
		}
		return len(b), false
	}
	return i + 1, true
}

// texts returns the text of a piece.
var texts = []struct{ name, piece, text string }{
	{"nothing", "", ""},
	{"plain", "ls -l", "ls -l"},
	{"colours", "\x1b[1;31mred\x1b[0m and \x1b[38;2;1;2;3mtrue\x1b[m", "red and true"},
	{"colon colours", "\x1b[4:3mcurly\x1b[0m", "curly"},
	{"private modes", "\x1b[?2004h$ \x1b[?25l\x1b[>4;2m", "$ "},
	{"title with BEL", "\x1b]0;title\x07after", "after"},
	{"title with ST", "\x1b]2;title\x1b\\after", "after"},
	{"title with C1 ST", "\x1b]2;title\u009cafter", "after"},
	{"title in UTF-8", "\x1b]2;größe ÂÂ\u00a0\x07after", "after"},
	{"link", "\x1b]8;;https://example.com\x1b\\text\x1b]8;;\x1b\\", "text"},
	{"title of screen", "\x1bktitle\x1b\\after", "after"},
	{"title of screen, with BEL", "\x1bkgröße\x07after", "after"},
	{"strings that are aborted", "a\x1bkx\x18b\x1b^x\x1ac\x1b_x\x18d\x1bXx\x1ae\x1bPx\x18f", "abcdef"},
	{"a string that an 8-bit ST ends", "\x1b]0;title\x9cafter\x1bkx\x9c Ü", "after Ü"},
	{"title with Ü, which has the byte of ST", "\x1b]0;Ü\x07after", "after"},
	{"marks are not forged", "⌫⟦x⟧", "⌫[x]"},
	{"device control", "\x1bP1$r0m\x1b\\after", "after"},
	{"application command", "\x1b_Gf=24;AAAA\x1b\\after", "after"},
	{"privacy message, start of string", "\x1b^x\x1b\\a\x1bXy\x1b\\b", "ab"},
	{"a string that another sequence ends", "\x1b]0;title\x1b[31mafter", "after"},
	{"a string that an escape ends", "\x1b]0;title\x1b7after", "after"},
	{"aborted", "\x1b[31\x18a\x1b]0;x\x1ab", "ab"},
	{"escape in an escape", "\x1b\x1b[31mred", "red"},
	{"charset", "\x1b(B\x1b)0line", "line"},
	{"keypad, save, restore", "\x1b=\x1b>\x1b7\x1b8x", "x"},
	{"rune after an escape", "\x1b\u00e9x", "\u00e9x"},
	{"rune after half a sequence", "\x1b[31日\x1b(日", "日日"},
	{"bell", "a\x07b", "ab"},
	{"NUL and DEL", "a\x00b\x7fc", "abc"},
	{"backspace", "lss\b -l", "ls -l"},
	{"backspace over a rune", "日本\b\bx", "x"},
	{"backspaces past the start", "\b\b\ba\b\bb", "b"},
	{"carriage return", "50%\r100%", "50% 100%"},
	{"carriage return at the start", "\rprompt", "prompt"},
	{"tab", "a\tb", "a b"},
	{"line feeds of a command", "echo a\necho b\vc\fd", "echo a echo b c d"},
	{"C1 in UTF-8", "a\u009b31mb\u0085c", "a31mbc"},
	{"line separators", "a\u2028b\u2029c", "a b c"},
	{"invalid", "a\xff\xfe\x80b", "a\ufffd\ufffd\ufffdb"},
	{"half a rune", "a\xe6\x97", "a\ufffd\ufffd"},
	{"half a rune in the middle", "a\xe6\x97b", "a\ufffd\ufffdb"},
	{"surrogate", "\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
	{"overlong", "\xc0\xaf", "\ufffd\ufffd"},
	{"unfinished control sequence", "a\x1b[31", "a"},
	{"unfinished string", "a\x1b]0;title", "a"},
	{"escape at the end", "a\x1b", "a"},
	{"control characters in a sequence", "\x1b[3\r1\tmred", "red"},
	{"bomb of parameters", "\x1b[" + strings.Repeat("9;", 50_000) + "mx", "x"},
	{"bomb of escapes", strings.Repeat("\x1b", 100_000) + "cx", "x"},
	{"bomb of strings", strings.Repeat("\x1b]", 50_000) + "\x07x", "x"},
	{"wide, joined, combined", "👩‍💻 e\u0301", "👩‍💻 e\u0301"},
}

func TestScan(t *testing.T) {
	for _, test := range texts {
		t.Run(test.name, func(t *testing.T) {
			read, safe, _ := scan([]byte("before"), []byte(test.piece), ground, true)
			if string(read) != "before"+test.text || safe != len(test.piece) {
				t.Errorf("read %.200q up to %d of %d, expected %q", read, safe, len(test.piece), "before"+test.text)
			}
			// Wherever it is cut, both parts have the same text, except for sequences that depend on text
			// before the cut.
			if len(test.piece) > 1000 || strings.ContainsAny(test.piece, "\b\r\n\v\f") || !utf8.ValidString(test.piece) {
				return
			}
			for i := range len(test.piece) {
				read, safe, at := scan(nil, []byte(test.piece[:i]), ground, false)
				read, _, _ = scan(read, []byte(test.piece[safe:]), at, true)
				if string(read) != test.text {
					t.Errorf("cut at %d, which is safe at %d: %q, expected %q", i, safe, read, test.text)
				}
			}
		})
	}
}

// checkScan checks invariants that hold for any bytes.
func checkScan(t *testing.T, piece []byte) {
	read, safe, at := scan(nil, piece, ground, false)
	if !utf8.Valid(read) {
		t.Fatalf("%q reads as %q, which is not UTF-8", piece, read)
	}
	for _, r := range string(read) {
		if r < 0x20 || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q reads as %q, which has the control character %U", piece, read, r)
		}
	}
	if safe > 0 && at != ground {
		t.Fatalf("%q: safe at %d, within a sequence (%d)", piece, safe, at)
	}
	if !isBoundary(piece, safe) {
		t.Fatalf("%q: safe at %d, which divides a rune or a sequence", piece, safe)
	}
	if whole, end, _ := scan(nil, piece, ground, true); end != len(piece) || !bytes.HasPrefix(whole, read) {
		t.Fatalf("%q reads as %q, and as %q when nothing follows", piece, read, whole)
	}
}

// isBoundary reports whether a rune or sequence ends at i, or no earlier one is incomplete there.
func isBoundary(b []byte, i int) bool {
	at := 0
	for at < i {
		n, _ := token(b[at:])
		at += n
	}
	return at == i
}

func FuzzScan(f *testing.F) {
	for _, test := range texts {
		if len(test.piece) < 1000 {
			f.Add([]byte(test.piece))
		}
	}
	f.Fuzz(checkScan)
}
