package enrich

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestControlStringsAcrossLines: line ends within control strings are not part of the text, unless
// the string is never terminated.
func TestControlStringsAcrossLines(t *testing.T) {
	k := testKey(t)
	data := func(lines, length int) string { // as in base64
		return strings.Repeat(strings.Repeat("QUJD", length/4)+"\n", lines)
	}
	out := func(s ...string) (shown screening) {
		for _, s := range s {
			shown = append(shown, s)
		}
		return shown
	}
	for _, test := range []struct {
		name   string
		shown  screening
		record string // non-empty texts, separated by |
	}{
		{"a title with a command of several lines", out("$ \x1b]2;for i in 1 2; do\n  rm $i\r\ndone\x07ls\r\nfile\r\n"), "$|$ ls|file"},
		{"DCS, APC, PM, SOS and a title of screen", out("a\x1bPq\n#0\n\x1b\\b\x1b_x\ny\x1b\\c\x1b^x\ny\x1b\\d\x1bXx\ny\x1b\\e\x1bkx\ny\x1b\\f\r\n"), "a|ab|abc|abcd|abcde|abcdef"},
		{"ended by other means", out("a\x1b]x\ny\x18b\x1b]x\ny\x1ac\x1b]x\ny\u009cd\x1b]x\ny\x9ce\x1b]x\ny\x1b[mf\r\n"), "a|ab|abc|abcd|abcde|abcdef"},
		{"in pieces", out("a\x1b]0;x", "\ny", "\n", "z\n\x1b", "\\b\r\n"), "a|ab"},
		{"nothing ends it", screening{"\x1b]0;hidden\r\nshown\r\nand this\r\n", MaxAge, "later\r\n"}, "shown|and this|later"},
		{"nothing ends it before the end", out("\x1b]0;hidden\r\nshown\r\nand th"), "shown|and th"},
		{"nothing ends it within the longest line", out("\x1bP1;hidden\r\n", strings.Repeat("shown and seen\r\n", 1100), "\x1b\\"), strings.TrimSuffix(strings.Repeat("shown and seen|", 1100), "|")},
		{"a large image", out("a\x1b]1337;File=:\n", data(1000, 76), "QUJD\n\x07b\r\n"), "a|ab"},
		{"a large image, slowly", screening{"\x1bPq\n" + data(20, 76), MaxAge, data(20, 60), MaxAge, "QUJD\n\x1b\\b\r\n"}, "b"},
		{"a large image that turns out to be none", out("\x1b]1337;File=:\n", data(1000, 76), "$ cat /etc/passwd\r\nroot:x:0:0\r\n"), "$ cat /etc/passwd|root:x:0:0"},
		{"a new string in a large image", out("\x1b]1337;File=:\n", data(1000, 76), "\x1b\\\x1b]0;title\n$ ls\r\nfile\r\n"), "$ ls|file"},
		{"short lines are no image", screening{"\x1b]1337;File=:\r\n" + strings.Repeat("/root\r\n", 100), MaxAge}, strings.TrimSuffix(strings.Repeat("/root|", 100), "|")},
		{"two strings, of which one has no end", screening{"a\x1b]0;x\ny\x07b\x1b]0;hidden\nshown\r\n", MaxAge}, "a|ab|shown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			read := func(restart bool) string {
				var texts []string
				for _, text := range test.shown.texts(t, k, 80, 24, restart) {
					if text != "" {
						texts = append(texts, strings.Trim(text, " "))
					}
				}
				return strings.Join(texts, "|")
			}
			got := read(false)
			if got != test.record {
				t.Errorf("reads\n%.300q, expected\n%.300q", got, test.record)
			}
			if again := read(true); again != got {
				t.Errorf("with restarts\n%.300q, without\n%.300q", again, got)
			}
		})
	}
}

// TestHeldLinesAreRecorded: held lines are recorded separately, completely and in time, however
// they are cut into chunks.
func TestHeldLinesAreRecorded(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	pieces := []string{"\x1b]0;t", "\x1bPq", "\x1bk", "\n", "\n", "word ", "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD", "\x07", "\x1b\\", "\x18", "\x9c", "\u009c", "Ü", "\r\n"}
	held := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 31))
		op := op
		if seed%2 == 1 {
			op = onTerminal(op)
		}
		at := t0
		start, err := schema.StartFrame(at, op)
		if err != nil {
			t.Fatal(err)
		}
		r := recording{start}
		for range 300 {
			var b []byte
			for range 1 + rng.IntN(5) {
				b = append(b, strings.Repeat(pieces[rng.IntN(len(pieces))], 1+rng.IntN(30)*rng.IntN(30)/25)...)
			}
			if at = at.Add(time.Duration(rng.Int64N(int64(100 * time.Millisecond)))); rng.IntN(100) == 0 {
				at = at.Add(MaxAge)
			}
			r = append(r, schema.Frame{Kind: schema.FrameStdout, Time: at.UnixNano(), Payload: b})
		}
		end, err := schema.DetailFrame(schema.FrameEnd, at, &schema.Detail{Reason: "exit"})
		if err != nil {
			t.Fatal(err)
		}
		r = append(r, end)
		all := r.chunks(randomCuts(rng))
		want := enrichAll(t, op, k, all)
		checkRecords(t, want)
		if got := logs(want); !bytes.Equal(got[0], r.shown()[0]) {
			t.Fatalf("seed %d: not what was shown", seed)
		}
		for _, record := range want {
			if i := bytes.IndexByte(record.Log, '\n'); i >= 0 && i < len(record.Log)-1 {
				t.Fatalf("seed %d: a record of several lines: %q", seed, record.Log)
			}
			if bytes.HasSuffix(record.Log, newline) && endsInString(record.Log, ground) {
				held++
			}
		}
		same(t, enrichAll(t, op, k, r.chunks(randomCuts(rng))), want)
		checkResumes(t, op, k, all, want)
	}
	if held < 200 {
		t.Fatalf("only %d line ends in strings: the test is not effective", held)
	}
}

// TestEventTextsAreFrozen: an event's text is signed, and an audit generates it again from the
// event's fields. It therefore never changes, even when the interpretation of terminals improves.
func TestEventTextsAreFrozen(t *testing.T) {
	interactive := false
	for _, test := range texts {
		if len(test.piece) > 1000 {
			continue
		}
		d := &schema.Detail{Command: test.piece, Interactive: &interactive}
		want := test.text
		switch test.name { // whose interpretation has changed since
		case "title of screen":
			want = "titleafter"
		case "title of screen, with BEL":
			want = "größeafter"
		case "strings that are aborted":
			want = "axbcdef"
		case "a string that an 8-bit ST ends":
			want = "x\ufffd Ü"
		case "marks are not forged":
			want = test.piece
		}
		if test.piece != "" {
			want = ": " + want
		}
		if strings.ContainsAny(test.piece, "\b\r") { // a correction or a space may belong to the words before
			continue
		}
		if got := string(EventText(schema.EventStart, d)); got != "session started"+want {
			t.Errorf("%s: %q, expected %q", test.name, got, "session started"+want)
		}
	}
}
