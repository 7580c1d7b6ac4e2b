package enrich

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// A screening sends frames to a terminal of an interactive session: each string is bytes that
// arrive together, a time.Duration is a wait, a [2]int another size of the terminal, and missing is
// output that was not recorded.
type screening []any

type missing struct{}

// texts returns the texts of the output records. If restart is set, the session continues after
// every record as after a restart.
func (s screening) texts(t testing.TB, k *Key, width, height int, restart bool) (texts []string) {
	t.Helper()
	op := testOperation(t, k)
	op.Interactive, op.Width, op.Height = true, width, height
	tr, err := New(op, k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	script := script{t: t, tr: tr}
	var last *schema.Segment
	take := func() {
		var records []schema.Record
		records, last = take(t, script.tr, &script.d)
		for _, r := range records {
			if r.Event == schema.EventOutput {
				texts = append(texts, string(r.Text))
			}
		}
		if restart && last != nil && !script.tr.hasPending() {
			if script.tr, err = Resume(last, k, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range s {
		switch step := step.(type) {
		case string:
			for line := range strings.SplitAfterSeq(step, "\n") { // each in a separate segment
				if line != "" {
					script.show(schema.FrameStdout, line)
					take()
				}
			}
		case time.Duration:
			script.at += step
			script.tr.Expire(t0.Add(script.at))
			take()
		case [2]int:
			script.event(schema.FrameResize, &schema.Detail{Width: step[0], Height: step[1]})
			take()
		case missing:
			script.event(schema.FrameGap, &schema.Detail{Reason: "a test"})
			take()
		}
	}
	script.end()
	take()
	return texts
}

// TestTerminal: the text of each record.
func TestTerminal(t *testing.T) {
	k := testKey(t)
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, test := range []struct {
		name   string
		shown  screening
		record string // texts, separated by |
	}{
		{"plain", screening{"one\r\ntwo  \r\n  three\tx\r\n"}, "one|two  |  three x"},
		{"backspaces", screening{"$ lss\b\b\x1b[K -a\b\bl\r\n"}, "$ l la"},
		{"a terminal's own echo", screening{"nmae\b \b\b \b\b \bame\r\n"}, "name"},
		{"a progress bar", screening{" 10% #\r 50% ###\r100% #####\r\ndone\r\n"}, "100% #####|done"},
		{"a shorter line over a longer one", screening{"downloading\rdone\r\n"}, "doneloading"},
		{"a shorter line, erased", screening{"downloading\rdone\x1b[K\r\n"}, "done"},
		{"inserted", screening{"$ l -a\x1b[3D\x1b[1@s\r\n"}, "$ ls -a"},
		{"insert mode", screening{"$ l -a\x1b[3D\x1b[4hs\x1b[4l\r\n"}, "$ ls -a"},
		{"deleted", screening{"$ lsss\x1b[2D\x1b[2P\r\n"}, "$ ls"},
		{"start of the line, as Ctrl-A", screening{"$ ls\x1b[2D\x1b[5@sudo \r\n"}, "$ sudo ls"},
		{"another line of the history", screening{"$ make test\b\b\b\b\b\b\b\b\bls\x1b[K\r\n"}, "$ ls"},
		{"repeated", screening{"-\x1b[9b\r\n"}, "----------"},
		{"erased characters", screening{"secret\x1b[6D\x1b[6X\r\n"}, ""},
		{"line drawing", screening{"\x1b(0lqk\x1b(B ok \x1b)0\x0ex\x0f\r\n"}, "┌─┐ ok │"},
		{"save and restore", screening{"abc\x1b7def\x1b8X\r\n"}, "abcXef"},
		{"wide runes", screening{"日本\b\b語\r\n"}, "日語"},
		{"half a wide rune is overwritten", screening{"日本\b\b\bx\r\n"}, "x本"},
		{"combining", screening{"cafe\u0301s\b\r\n"}, "cafe\u0301s"},
		{"tabs to the right", screening{"a\tb\r\x1b[9Cc\r\n"}, "a bc"},
		{"colours in the middle", screening{"\x1b[31mred\x1b[0m\b\b\x1b[32mo\x1b[m\r\n"}, "rod"},
		{"a title is not text", screening{"\x1b]0;title\x07$ lss\b\x1b[K\r\n"}, "$ ls"},
		{"a string that a newline ends", screening{"a\b\x1b]0;hidden\r\nshown\r\n"}, "a|shown"},
		{"bad bytes", screening{"a\xff\xe6\x97b\b\r\n"}, "a\ufffd\ufffd\ufffdb"},
		{"control characters in a sequence", screening{"abc\x1b[3\r1mX\r\n"}, "Xbc"},
		{"no wrapping", screening{"\x1b[?7l" + x(19) + "yz\x1b[?7h\r\n"}, x(19) + "z"},

		{"wrapped", screening{"$ echo " + x(30) + "\b\b\by\r\n"}, "$ echo " + x(27) + "yxx"},
		{"wrapped as readline does it", screening{"$ echo 1234567890123 \r4567\r\x1b[K\x1b[A\r\x1b[18C\x1b[Kabc\r\n"}, "$ echo 12345678901abc"},
		{"to the edge, and back", screening{x(20) + "\ry\r\n"}, "y" + x(19)},
		{"longer than the screen", screening{strings.Repeat("0123456789", 30) + "\b\r\n"}, strings.Repeat("0123456789", 30)},
		{"a wide rune at the edge", screening{x(19) + "日\b\r\n"}, x(19) + "日"},

		{"a slow line", screening{"$ ls", MaxAge, " -l /srv", MaxAge, "\b\b\bvar", MaxAge, "\r\n"}, "$ ls|$ ls -l /srv|$ ls -l /var|$ ls -l /var"},
		{"a slow line of plain text", screening{"$ ", MaxAge, "ls\r\nfile\r\n"}, "$ |$ ls|file"},
		{"a slow deletion", screening{"$ rm -rf /", MaxAge, "\b\x1b[Ktmp", MaxAge, "\b\b\b\x1b[K", MaxAge, "\r\n"}, "$ rm -rf /|$ rm -rf tmp|$ rm -rf|$ rm -rf"},
		{"dots without end", screening{strings.Repeat(".", maxRepeated), MaxAge, "..", MaxAge, "..\r\n"},
			strings.Repeat(".", maxRepeated) + "|" + strings.Repeat(".", maxRepeated+2) + "|.."},
		{"longer than a record", screening{x(MaxLine) + "yy\r\n"}, x(MaxLine) + "|yy"},
		{"longer than a record, and wider than the screen", screening{x(MaxLine-1) + "\b" + "yy\r\n"}, x(MaxLine-1) + "|yy"},

		{"resized at the prompt", screening{"$ make tset", [2]int{40, 10}, "\b\b\best\r\n$ ls\r\n"}, "$ make tset|$ make test|$ ls"},
		{"resized to less", screening{"\x1b[H\x1b[2Jone\r\ntwo\r\nthree\r\n", [2]int{10, 3}, "\x1b[2A\x1b[5C!\r\n"}, "one|two|three|two  !"},

		{"a screen", screening{"\x1b[?1049h\x1b[H\x1b[2Jtop\x1b[3;4Hmiddle\x1b[5;1Hstatus", MaxAge, "\x1b[?1049l$ \b\b# ", MaxAge}, "top ⏎ middle ⏎ status|#"},
		{"a screen within a record", screening{"$ vi\b\bvim\r\n\x1b[?1049h\x1b[Hone\r\n\x1b[K~\x1b[3H~\x1b[5H:q\x1b[?1049l\r$ ls\r\n"}, "$ vim|one|~ ⏎ :q ⏎ $ ls"},
		{"a screen goes on", screening{"\x1b[?1049h\x1b[Habc", MaxAge, "\x1b[1;5Hdef", MaxAge, "\x1b[1;1H\x1b[K", MaxAge}, "abc|abc def|"},
		{"the main screen is as it was", screening{"$ ab", MaxAge, "\x1b[?1049hscreen", MaxAge, "\x1b[?1049l\bc\r\n"}, "$ ab|screen|$ ac"},
		{"cleared", screening{"$ clea\br\r\n\x1b[H\x1b[2J$ one\r\n"}, "$ cler|$ one"},
		{"cleared twice in a record", screening{"\x1b[H\x1b[2Jone\x1b[H\x1b[2Jtwo\r\n"}, "one ⏎ two"},
		{"scrolled in a region", screening{"\x1b[?1049h\x1b[2;3r\x1b[3;1Hone\ntwo\nthree\n", "\x1b[4;1Hstatus", MaxAge}, "one|two|three|status"},
		{"scrolled off within a record", screening{"\x1b[?1049h\x1b[5;1Hone\x1bD\r\x1bDtwo\x1bD\x1bD\x1bD\x1bD\x1bD\x1bD\r\x1b[Kx", MaxAge}, "one ⏎ two ⏎ x"},
		{"lines inserted and deleted", screening{"\x1b[?1049h1\r\x1b[2H2\r\x1b[3H3\x1b[2H\x1b[Lnew\x1b[H\x1b[M", MaxAge}, "1 ⏎ new ⏎ 2 ⏎ 3"},
		{"bars over several rows", screening{"a: 0%\r\nb: 0%\r\n\x1b[2Aa: 50%\r\n\x1b[Bb: 1%\x1b[2A\r\n", "\x1b[Ka: 100%\r\nb: 7%\r\n"},
			"a: 0%|b: 0%|a: 50%|b: 1%|a: 100%|b: 7%"},
		{"the same row again and again", screening{"\x1b[?1049h\x1b[H~\x1b[2H~\x1b[3H~\x1b[4Hx\x1b[5H~", MaxAge}, "~ ⏎ x ⏎ ~"},
		{"a reset", screening{"\x1b[?1049h\x1b[?7l\x1b(0abc\x1bc$ ok\r\n"}, "▒␉␌ ⏎ $ ok"},
		{"a gap", screening{"\x1b[?1049h$ ab", missing{}, "\bc\r\n"}, "$ ab|c"},
		{"nothing", screening{"\x1b[5n\x1b[c\x1bZ\b\b\r\n"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(test.shown.texts(t, k, 20, 5, false), "|")
			if got != test.record {
				t.Errorf("reads\n%q, expected\n%q", got, test.record)
			}
			if again := strings.Join(test.shown.texts(t, k, 20, 5, true), "|"); again != got {
				t.Errorf("with restarts\n%q, without\n%q", again, got)
			}
		})
	}
}

// TestPlainOutputNeedsNoTerminal: output that needs no terminal has the same text on one, which is
// fresh afterwards.
func TestPlainOutputNeedsNoTerminal(t *testing.T) {
	pieces := []string{"plain", " ", "größe", "日本語", "e\u0301", "\x1b[1;31m", "\x1b[K", "\x1b[m", "\x1b]0;title\x07", "\x1b[?2004h", "\x1b[?25l", "\x07", "\x00",
		"\x1b(B", "\x1b=", "\x1b[>4;2m", "\xff", "\u2028", "🎉", "\x1b[31日", "\x1b]0;", "\x1b[c", "\x1b\\", "\x7f", "\x1b[0J", "👩\u200d💻"}
	needless := 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 6))
		line := []byte("\x1b[?2004l\r"[:9*rng.IntN(2)])
		for range rng.IntN(30) {
			line = append(line, pieces[rng.IntN(len(pieces))]...)
		}
		if rng.IntN(3) == 0 { // tabs are equivalent only within a row
			line = append(line[:0], "a\t日\x1b[m\tb"...)
		}
		line = append(line, "\r\n"...)
		terminal := newTerminal(60, 1+rng.IntN(5))
		p := piece{log: line, cause: whole, plain: isPlain(line, ground)}
		if !terminal.mayDefer(p) || terminal.effectOf(p) != still {
			t.Fatalf("%q needs a terminal", line)
		}
		want, _, _ := scan(nil, trimEnd(line), ground, true)
		got, ok := terminal.show(nil, p)
		if !ok || !bytes.Equal(bytes.Trim(want, " "), got) || !terminal.fresh {
			t.Fatalf("%q reads %q on a terminal, which is fresh after it: %t; %q without", line, got, terminal.fresh, want)
		}
		if len(want) > 0 {
			needless++
		}
	}
	if needless < 1000 {
		t.Fatalf("only %d lines with a text: the test is not effective", needless)
	}
	// Output with cursor movements is rendered on a terminal.
	for _, line := range []string{"a\bb", "a\rb", "a\vb", "a\x1b[Ab", "a\x1b[2Kb", "a\x1b[1Jb", "a\x1b[?1049hb", "a\x1b[?25;7lb", "a\x1b[4hb", "a\x1b7", "a\x1b8", "\x1b(0q",
		"\x0eq", "a\x1bMb", "a\x1bcb", "a\x1b[3bb", "a\x1b[!pb", "a\x1b[1\bmb", "a\x1b]0;x\x1b8b", "a\x1b[ub"} {
		if newTerminal(80, 24).effectOf(piece{log: []byte(line + "\r\n")}) == still {
			t.Errorf("%q needs no terminal", line)
		}
	}
	if newTerminal(80, 24).mayDefer(piece{log: []byte("a\n")}) {
		t.Error("a line without a carriage return needs no terminal")
	}
}

// hostileTerminal is output with everything that is difficult for terminals.
func hostileTerminal(rng *rand.Rand, size int) []byte {
	finals := "@ABCDEFGHIJKLMPSTXZ`abcdefghlmnpqrstu"
	var out []byte
	for len(out) < size {
		switch rng.IntN(12) {
		case 0, 1:
			out = append(out, "\x1b["...)
			if rng.IntN(4) == 0 {
				out = append(out, '?')
			}
			for i := range rng.IntN(4) {
				if i > 0 {
					out = append(out, ';')
				}
				out = fmt.Append(out, []int{0, 1, 2, 3, 4, 6, 7, 20, 1049, 99999999999}[rng.IntN(10)])
			}
			out = append(out, finals[rng.IntN(len(finals))])
		case 2:
			out = append(out, []string{"\x1b7", "\x1b8", "\x1bM", "\x1bD", "\x1bE", "\x1b(0", "\x1b(B", "\x0e", "\x0f", "\x1b[?1049h", "\x1b[?1049l", "\x1bc"}[rng.IntN(12)]...)
		case 3:
			out = append(out, "\r\n"...)
		case 4:
			out = append(out, []string{"\b", "\t", "\r", "\n", "\v"}[rng.IntN(5)]...)
		case 5:
			out = append(out, hostile(rng, rng.IntN(100))...)
		case 6:
			out = append(out, []string{"日本語", "e\u0301\u0301", "\u0301", "🎉\ufe0f"}[rng.IntN(4)]...)
		default:
			out = append(out, "the quick brown fox"[:rng.IntN(20)]...)
		}
	}
	return out
}

// checkTerminal checks invariants of any text.
func checkText(t testing.TB, text []byte) {
	t.Helper()
	if !utf8.Valid(text) || len(text) > maxText {
		t.Fatalf("a text of %d bytes, which is UTF-8: %t", len(text), utf8.Valid(text))
	}
	for _, r := range string(text) {
		if r < 0x20 || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q has the control character %U", text, r)
		}
	}
}

// checkPieces renders pieces on a terminal, and on one that is restored from the previous one's
// state after each piece.
func checkPieces(t testing.TB, width, height int, pieces []piece) {
	t.Helper()
	a := newTerminal(width, height)
	b := newTerminal(width, height)
	for _, p := range pieces {
		if p.log == nil {
			a.resize(p.arrivals[0].bytes, p.arrivals[1].bytes)
			b.resize(p.arrivals[0].bytes, p.arrivals[1].bytes)
		} else {
			text, ok := a.show(nil, p)
			again, _ := b.show([]byte("before"), p)
			if !ok {
				t.Fatalf("%q panicked", p.log)
			}
			checkText(t, text)
			if string(again) != "before"+string(text) {
				t.Fatalf("%q reads %q, and %q after a restart", p.log, text, again)
			}
		}
		state := a.appendState(nil)
		if len(state) > 4*maxCells+2*maxText+maxAllMarks+8*maxHeight {
			t.Fatalf("a state of %d bytes", len(state))
		}
		var ok bool
		if b, ok = readState(state); !ok || !bytes.Equal(b.appendState(nil), state) {
			t.Fatalf("the state %x is not read as it was written: %t", state, ok)
		}
	}
}

// pieces cuts output into pieces at line ends, and where cut is set.
func pieces(output []byte, cut func() int) (all []piece) {
	for state := ground; len(output) > 0; {
		n := min(len(output), MaxLine, cut())
		p := piece{log: output[:n], state: state, cause: aged}
		if newline := bytes.IndexByte(p.log, '\n'); newline >= 0 {
			p.log, p.cause = output[:newline+1], whole
		} else if n == MaxLine {
			p.cause = full
		}
		output = output[len(p.log):]
		if _, _, state = scan(nil, p.log, state, true); p.cause == whole {
			state = ground
		}
		all = append(all, p)
	}
	return all
}

func TestTerminalStateSurvivesRestarts(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		all := pieces(hostileTerminal(rng, 2000), func() int { return 1 + rng.IntN(1<<rng.IntN(12)) })
		for i := len(all) / 20; i < len(all); i += 1 + len(all)/5 {
			all = append(all[:i:i], append([]piece{{arrivals: []arrival{{bytes: rng.IntN(100)}, {bytes: rng.IntN(40)}}}}, all[i:]...)...)
		}
		checkPieces(t, 1+rng.IntN(100), 1+rng.IntN(30), all)
	}
}

// FuzzTerminal sends any bytes to terminals of any size.
func FuzzTerminal(f *testing.F) {
	for _, test := range texts {
		if len(test.piece) < 1000 {
			f.Add([]byte(test.piece), uint8(20), uint8(5), uint8(3))
		}
	}
	for seed := range uint64(5) {
		f.Add(hostileTerminal(rand.New(rand.NewPCG(seed, 8)), 500), uint8(10+seed), uint8(seed), uint8(50))
	}
	f.Fuzz(func(t *testing.T, output []byte, width, height, cut uint8) {
		checkPieces(t, int(width), int(height)%30, pieces(output[:min(len(output), 2000)], func() int { return 1 + int(cut)*8 }))
		if other, ok := readState(output); ok { // an invalid state
			other.show(nil, piece{log: []byte("x\x1b[2J\x1b[A\x1b[5Mx\r\n")})
		}
	})
}

// TestTerminalLimits: neither a session's output nor the size of its terminal makes a record or the
// retained state large.
func TestTerminalLimits(t *testing.T) {
	for name, output := range map[string]string{
		"everything":      "\x1b[?1049h" + strings.Repeat("日本語xyz\x1b[B", 10_000),
		"marks":           strings.Repeat("e"+strings.Repeat("\u0301", 100), 500),
		"far away":        strings.Repeat("\x1b[99999;99999Hx\x1b[1;99999Hx", 1000),
		"parameters":      "\x1b[" + strings.Repeat("1;", 50_000) + "Hx",
		"huge parameters": strings.Repeat("\x1b[99999999999999999999999S\x1b[99999999999999999999999bx", 500),
		"cleared":         strings.Repeat("\x1b[2J\x1b[Hx", 3000),
		"strings":         strings.Repeat("\x1b]0;", 50_000) + "\x07x\b",
	} {
		t.Run(name, func(t *testing.T) {
			checkPieces(t, 1<<30, 1<<30, pieces([]byte(output), func() int { return MaxLine }))
		})
	}
}

// TestTerminalPanicFallsBackToScan: a panic in the terminal affects one text, which is then that of
// scan.
func TestTerminalPanicFallsBackToScan(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	op.Interactive, op.Width, op.Height = true, 80, 24
	tr, err := New(op, k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := script{t: t, tr: tr}
	tr.terminal.main.y, tr.terminal.fresh = 1000, false // outside
	s.show(schema.FrameStdout, "x\rone\r\n")
	s.show(schema.FrameStdout, "x\rtwo\r\n")
	s.end()
	records := s.take()
	checkRecords(t, records)
	if len(records) != 3 || string(records[0].Text) != "x one" || string(records[1].Text) != "two" {
		t.Errorf("%s: texts %q", brief(records), records[0].Text)
	}
}

// TestPutPlainMatchesPut: text that is written at once has the same result as rune by rune.
func TestPutPlainMatchesPut(t *testing.T) {
	setups := []string{"", "日本語日本語", "e\u0301a\u0302", "\x1b[4h", "\x1b[?7l", "\x0e\x1b)0", "\x1b(0", "\x1b[2;3r", "\x1b[?1049h", "\tx\t", "\x1b[3;1H0123456789", "\x1b[1;10H", "\b", "\x1b[5C", "\r", "\n"}
	atOnce := 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		a, b := newTerminal(10, 4), newTerminal(10, 4)
		for range 1 + rng.IntN(8) {
			setup := []byte(setups[rng.IntN(len(setups))])
			a.feed(setup, ground)
			b.feed(setup, ground)
			plain := make([]byte, rng.IntN(25))
			for i := range plain {
				plain[i] = ' ' + byte(rng.IntN(95))
			}
			if len(plain) > 1 {
				atOnce++
			}
			a.putPlain(plain)
			for _, c := range plain {
				b.put(rune(c), 1)
			}
		}
		if got, want := fmt.Sprintf("%+v", *a), fmt.Sprintf("%+v", *b); got != want {
			t.Fatalf("seed %d: at once\n%s\nrune by rune\n%s", seed, got, want)
		}
	}
	if atOnce < 1000 {
		t.Fatalf("only %d texts: the test is not effective", atOnce)
	}
}
