package enrich

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestEditedCommand: a multi-line command that is edited at the bottom of the window is complete in
// the record that its Enter ends.
func TestEditedCommand(t *testing.T) {
	k := testKey(t)
	recalled := "$ for i in 1 2; do\r\n  rm -r /srv/$i\r\ndone"
	fill := strings.Repeat("output\r\n", 30)
	for _, test := range []struct {
		name   string
		shown  screening
		record string // ended by the last newline
	}{
		{"the first line", screening{fill + recalled + "\x1b[2A\r\x1b[11C7 8\x1b[2B\r\x1b[4C\r\n"}, "$ for i in 7 8; do ⏎ rm -r /srv/$i ⏎ done"},
		{"the middle line", screening{fill + recalled + "\x1b[A\r\x1b[9Cvar\x1b[B\r\x1b[4C\r\n"}, "rm -r /var/$i ⏎ done"},
		{"slowly", screening{fill + recalled, MaxAge, "\x1b[2A\r\x1b[11C7 8", MaxAge, "\x1b[2B\r\x1b[4C\r\n"}, "done"},
		{"slowly, as it stands after ten seconds", screening{fill + recalled, MaxAge, "\x1b[2A\r\x1b[11C7 8", MaxAge}, "$ for i in 7 8; do"},
		{"after a resize", screening{fill + recalled, [2]int{60, 12}, "\x1b[2A\r\x1b[11C7 8\x1b[2B\r\x1b[4C\r\n"}, "$ for i in 7 8; do ⏎ rm -r /srv/$i ⏎ done"},
		{"coloured", screening{fill + "\x1b[32m$ \x1b[mfor i in 1 2; do\x1b[K\r\n  rm -r /srv/$i\r\ndone" + "\x1b[2A\r\x1b[11C7 8\x1b[2B\r\x1b[4C\r\n"},
			"$ for i in 7 8; do ⏎ rm -r /srv/$i ⏎ done"},
		{"a line is inserted", screening{fill + recalled + "\x1b[A\r\x1b[15C && \\\x1b[J\r\n  true\r\ndone\r\n"}, "done"},
		{"cursor up by reverse index", screening{fill + recalled + "\x1bM\x1bM\r\x1b[11C7 8\x1b[2B\r\x1b[4C\r\n"}, "$ for i in 7 8; do ⏎ rm -r /srv/$i ⏎ done"},
		{"a status line at a place of its own", screening{fill + "$ ls\x1b7\x1b[1;1Hstatus\x1b8\r\n"}, "status ⏎ $ ls"},
	} {
		t.Run(test.name, func(t *testing.T) {
			texts := test.shown.texts(t, k, 40, 10, false)
			if got := texts[len(texts)-1]; got != test.record {
				t.Errorf("reads\n%q, expected\n%q; all are %q", got, test.record, texts)
			}
			if again := test.shown.texts(t, k, 40, 10, true); !slices.Equal(again, texts) {
				t.Errorf("with restarts\n%q, without\n%q", again, texts)
			}
		})
	}
}

// TestHistoryMatchesImmediateRendering: lines that are rendered only when something moves up to
// them have the same text as with immediate rendering, also after restarts.
func TestHistoryMatchesImmediateRendering(t *testing.T) {
	still := []string{"plain text", "größe 日本語", "\x1b[31mred\x1b[0m", "a\tb", strings.Repeat("0123456789", 9), "e\u0301", "", "🇩🇪", "\x1b[K", "x",
		"taken\b\b\bback", "\rover", "\x1b[4hinserted\x1b[4l", "\x1b[2Kall", "\x1b[5b", "\x1b(0q\x1b(B", "\x1b[8mhidden\x1b[m", "\x1b[9999G!"}
	edits := []string{"\x1b[%dAedited\x1b[B\r", "\x1b[%dA\x1b[K", "\x1b[%dA\x1b[2Pxx\x1b[J", "\x1b[%dA\x1b[L", "\x1b[%dA\x1b[?7l\x1b[?7h\x1b[4@", "\x1bM\x1b[%dM", "\x1b[3S\x1b[%dA."}
	later, edited := 0, 0
	var buffers Buffers
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 21))
		width, height := 1+rng.IntN(90), 1+rng.IntN(12)
		if seed%20 == 0 {
			width, height = 800, 40 // more cells than are retained, and more bytes than a history holds
		}
		late, atOnce, resumed := newTerminal(width, height), newTerminal(width, height), newTerminal(width, height)
		show := func(line string) {
			p := piece{log: []byte(line), cause: whole, plain: isPlain([]byte(line), ground)}
			var texts []string
			for _, terminal := range []*terminal{late, atOnce, resumed} {
				text, known := terminal.read(nil, p, &buffers)
				if !known {
					text = []byte("as scan reads it")
				}
				if terminal == atOnce && atOnce.history.lines > 0 {
					later++
				}
				texts = append(texts, string(text))
			}
			atOnce.recall()
			if rng.IntN(3) == 0 {
				state := resumed.appendState(nil)
				again, ok := readState(state)
				if !ok || string(again.appendState(nil)) != string(state) {
					t.Fatalf("seed %d: the state %x is not read as it was written", seed, state)
				}
				resumed = again
			}
			if texts[0] != texts[1] || texts[0] != texts[2] {
				t.Fatalf("seed %d, %d by %d: %q reads late, at once and resumed\n%q\n%q\n%q", seed, width, height, line, texts[0], texts[1], texts[2])
			}
			if len(late.history.log) > maxHistory+MaxLine {
				t.Fatalf("a history of %d bytes", len(late.history.log))
			}
		}
		for range 200 {
			if rng.IntN(12) > 0 {
				line := ""
				for range rng.IntN(4 + height/10) {
					line += still[rng.IntN(len(still))] + " "
				}
				show(line + "\r\n")
				continue
			}
			show(fmt.Sprintf("typed"+edits[rng.IntN(len(edits))]+"\x1b[%dB\r\n", 1+rng.IntN(height), height))
			edited++
		}
	}
	if later < 1000 || edited < 1000 {
		t.Fatalf("%d lines rendered later, and %d edits: the test is not effective", later, edited)
	}
}
