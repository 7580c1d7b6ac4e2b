package replay

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var filtered = []struct{ in, want string }{
	{"plain ÄÖÜ 漢字 🙂\r\n\t\b\a\v\f\x0e\x0f", "plain ÄÖÜ 漢字 🙂\r\n\t\b\a\v\f\x0e\x0f"},
	{"\x1b[01;34mblue\x1b[0m \x1b[38;2;1;2;3m\x1b[38:5:9m\x1b[4:3m", "\x1b[01;34mblue\x1b[0m \x1b[38;2;1;2;3m\x1b[38:5:9m\x1b[4:3m"},
	{"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[1P\x1b[4@\x1b[3L\x1b[M\x1b[5X\x1b[2b\x1b[1;20r\x1b[S\x1b[2T\x1b[d\x1b[G", "\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[1P\x1b[4@\x1b[3L\x1b[M\x1b[5X\x1b[2b\x1b[1;20r\x1b[S\x1b[2T\x1b[d\x1b[G"},
	{"\x1b7\x1b8\x1bM\x1bD\x1bE\x1b(0\x1b(B\x1b)0\x1b#8\x1b[?25l\x1b[?1049h\x1b[2 q\x1b[!p\x1b[4h", "\x1b7\x1b8\x1bM\x1bD\x1bE\x1b(0\x1b(B\x1b)0\x1b#8\x1b[?25l\x1b[?1049h\x1b[2 q\x1b[!p\x1b[4h"},
	{"\x1b[?1049;2004;1000;25h", "\x1b[?1049h\x1b[?25h"},
	// What a terminal answers to.
	{"a\x05\x1b[c\x1b[0c\x1b[>c\x1b[=c\x1b[5n\x1b[6n\x1b[?6n\x1b[?15n\x1bZ\x1b[x\x1b[1xb", "ab"},
	{"a\x1b[?2026$p\x1b[4$p\x1b[>q\x1b[>0q\x1b[?u\x1b[?1;1;0S\x1b[1;1;1;1;1;1*y\x1b[?4mb", "ab"},
	{"a\x1b[18t\x1b[21t\x1b[20t\x1b[8;100;200t\x1b[14;2t\x1b[22;0tb", "ab"},
	{"a\x1bP$qm\x1b\\\x1bP+q544e\x1b\\\x1bPq#0;2;0;0;0~\x1b\\b", "ab"},
	{"a\x1b]52;c;?\x07\x1b]52;c;ZWNobw==\x1b\\\x1b]11;?\x1b\\\x1b]4;1;?\x07\x1b]10;?\u009cb", "ab"},
	{"a\x1b_Ga=q;AAAA\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\b", "ab"},
	{"a\x1bktitle\x1b\\b\x1bkgr\u00f6\u00dfe\u00dc\x07c\x1bktwo\r\nlines\x18d\x1bkx\x1ae\x1b]0;x\x9cf\x1bk\u00dc\x1b[6n\x1bkx\u009cg", "abcdefg"},
	{"a\x1b^x\x18b\x1b_x\x1ac\x1bXx\x18d\x1bPx\ny\x1ae\x1b^x\ny\x9cf", "abcdef"},
	// What changes what a terminal sends, or lasts.
	{"a\x1b]0;title\x07\x1b]2;rm -rf\x1b\\\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"},
	{"a\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?2004h\x1b[?9h\x1b[>4;2m\x1b[>1u\x1b[=1u\x1b=\x1b[?1h\x1b[20h\x1b[2hb", "ab"},
	{"a\x1b[?3h\x1b[5i\x1b[?5i\x1b[0g\x1bH\x1b[3J\x1b[?3J\x1b[1;2;3;4;5T\x1b F\x1b G\x1b%@\x1b[61\"pb", "ab"},
	{"\x1bc", resetModes + clearScreen},
	{"\x1b[?6h\x1bc\x1bc", "\x1b[?6h\x1b[?6l\x1b[?69l" + resetModes + clearScreen + resetModes + clearScreen},
	{"\x1b[?1049h\x1bc", "\x1b[?1049h\x1b[?1049l" + resetModes + clearScreen},
	// 8-bit controls, as bytes and as runes; invalid UTF-8.
	{"a\x9b5n\u009b5n\x90q\u009d0;x\u009cb", "a\ufffd5n5n\ufffdq0;xb"},
	{"bad \xff\xfe \xc3( \xe6\x97", "bad \ufffd\ufffd \ufffd( "},
	{"\xe6\x97\x1b[6nx", "\ufffd\ufffdx"},
	// Sequences within sequences.
	{"\x1b[3\r\n1mx", "\r\n\x1b[31mx"},
	{"\x1b[6\x18nx\x1b]0;t\x1ay", "nxy"},
	{"\x1b\x1b[6n\x1b[\x1b[31mx", "\x1b[31mx"},
	{"\x1b[31\u00e4m\x1b\u00e4", "\u00e4m\u00e4"},
	{"\x1b[6\x7fn\x1b]0;\x1b[6nx", "x"},
	{"\x1b[99999C\x1b[-1C\x1b[+1C\x1b[1" + strings.Repeat(";1", 500) + "mx", "x"},
	{"\x1b((0x\x1b(((((((0y", "xy"},
}

// TestFilter checks that the output does not depend on how the input is split.
func TestFilter(t *testing.T) {
	for _, c := range filtered {
		for _, size := range []int{len(c.in), 1, 2, 3} {
			var f Filter
			var got []byte
			for in := []byte(c.in); len(in) > 0; in = in[min(size, len(in)):] {
				got = f.Append(got, in[:min(size, len(in))])
			}
			if string(got) != c.want {
				t.Errorf("%q in pieces of %d: %q, want %q", c.in, size, got, c.want)
			}
		}
	}
	var f Filter
	f.Append(nil, []byte("\x1b[?1047h\x1b]0;"))
	if got := string(f.AppendReset(nil)); got != "\x1b[?1049l"+resetModes {
		t.Errorf("%q", got)
	}
	if got := string(f.Append(nil, []byte("x"))); got != "x" {
		t.Errorf("after a reset %q", got)
	}
}

// harmless is all that may come out of a filter, by another reading than the filter's own.
var harmless = regexp.MustCompile("^(?:[ -~\u00a0-\U0010ffff\a\b\t\n\v\f\r\x0e\x0f]" +
	"|\x1b[78DEM]|\x1b[()*+][0-~]|\x1b#[34568]" +
	"|\x1b\\[[0-9;]*[@-GILMPSX`abdefrsu]|\x1b\\[[0-9]*T|\x1b\\[[0-9;]*[HZ]|\x1b\\[\\??[0-24-9;]*J|\x1b\\[\\??[0-9;]*K|\x1b\\[[0-9;:]*m" +
	"|\x1b\\[\\?(?:5|6|7|12|25|45|47|69|1047|1048|1049)[hl]|\x1b\\[4[hl]|\x1b\\[[0-9;]* q|\x1b\\[!p)*$")

func FuzzFilter(f *testing.F) {
	for _, c := range filtered {
		f.Add([]byte(c.in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = max(0, min(cut, len(in)))
		var whole, pieces Filter
		want := whole.Append(nil, in)
		got := pieces.Append(pieces.Append(nil, in[:cut]), in[cut:])
		if !bytes.Equal(got, want) {
			t.Errorf("%q cut at %d: %q, and in one %q", in, cut, got, want)
		}
		if !utf8.Valid(want) || !harmless.Match(want) {
			t.Errorf("%q: %q", in, want)
		}
		if again := new(Filter).Append(nil, want); !bytes.Equal(again, want) {
			t.Errorf("%q: once %q, twice %q", in, want, again)
		}
	})
}
