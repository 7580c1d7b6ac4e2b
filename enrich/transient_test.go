package enrich

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// typed returns a screening in which each rune arrives separately, with a delay.
func typed(s string, between time.Duration) (shown screening) {
	for _, r := range s {
		shown = append(shown, string(r), between)
	}
	return shown
}

func join(parts ...screening) (all screening) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// TestTransients: a text contains and marks what was on the screen and was erased or overwritten.
func TestTransients(t *testing.T) {
	k := testKey(t)
	const moment, blink = standing, 100 * time.Millisecond
	bar := func(refresh time.Duration) (shown screening) {
		for i := range 20 {
			shown = append(shown, fmt.Sprintf("\r%3d%% %s", i*5, strings.Repeat("#", i)), refresh)
		}
		return append(shown, "\r\x1b[Kdone\r\n")
	}
	for _, test := range []struct {
		name   string
		shown  screening
		record string // texts, separated by |
	}{
		{"erased at once", screening{"secret\r\x1b[Kpublic\r\n"}, "public"},
		{"erased soon", screening{"secret", moment - 1000, "\r\x1b[Kpublic\r\n"}, "public"},
		{"erased after a moment", screening{"secret", moment, "\r\x1b[Kpublic\r\n"}, "⌫⟦secret⟧ ⏎ public"},
		{"overwritten", screening{"secret", moment, "\rpublic\r\n"}, "⌫⟦secret⟧ ⏎ public"},
		{"overwritten by what is not ASCII", screening{"secret", moment, "\r日本語\r\n"}, "⌫⟦secret⟧ ⏎ 日本語"},
		{"erased by backspaces", screening{"$ secret", moment, strings.Repeat("\b \b", 6) + "ls\r\n"}, "⌫⟦$ secret⟧ ⏎ $ ls"},
		{"erased by backspaces, slowly", join(screening{"$ secret", moment}, typed("\b\x1b[K\b\x1b[K\b\x1b[K\b\x1b[K", 2*moment), screening{"\r\n"}), "⌫⟦$ secret⟧ ⏎ $ se"},
		{"erased to the left", screening{"secret", moment, "\x1b[1K\rok\r\n"}, "⌫⟦secret⟧ ⏎ ok"},
		{"erased characters", screening{"secret\r", moment, "\x1b[6Xok\r\n"}, "⌫⟦secret⟧ ⏎ ok"},
		{"deleted characters", screening{"secret\r", moment, "\x1b[6Pok\r\n"}, "⌫⟦secret⟧ ⏎ ok"},
		{"pushed off the edge", screening{"\x1b[35Cscret\x1b[3D", moment, "\x1b[4he\x1b[4l\r\n"}, "⌫⟦scret⟧ ⏎ secre"},
		{"inserted before", screening{"\x1b[35Cscret\x1b[5D", moment, "\x1b[2@\r\n"}, "⌫⟦scret⟧ ⏎ scr"},
		{"erased below", screening{"one\r\nse\x1b[2D\x1b[Acr\x1b[Bet", moment, "\r\x1b[A\x1b[Jtwo\r\n"}, "one|⌫⟦cre⟧ ⏎ ⌫⟦seet⟧ ⏎ two"},
		{"typed, and taken back at once", join(typed("$ secret", blink/5), screening{"\r\x1b[Kls\r\n"}), "⌫⟦$ secret⟧ ⏎ ls"},
		{"the same again", screening{"same", moment, "\rsame", moment, "\r\x1b[Ksame\r\n"}, "same"},
		{"part of what is there at the end", screening{"$ make tset", moment, "\b\b\b\x1b[K", moment, "set\r\n"}, "$ make tset"},
		{"a corrected word", screening{"$ make tset", moment, "\b\b\best\r\n"}, "⌫⟦$ make tset⟧ ⏎ $ make test"},
		{"over the edge", screening{"$ " + strings.Repeat("long ", 15), moment, "\x1b[A\r\x1b[Jls\r\n"}, "⌫⟦$ " + strings.TrimSpace(strings.Repeat("long ", 15)) + "⟧ ⏎ ls"},
		{"it was in the text before", screening{"$ secret", MaxAge, "\r\x1b[Kls\r\n"}, "$ secret|ls"},
		{"its beginning was in the text before", screening{"$ rm", MaxAge, " -rf /srv", moment, "\r# ls\x1b[K\r\n"}, "$ rm|⌫⟦$ rm -rf /srv⟧ ⏎ # ls"},
		{"a fast progress bar", bar(blink), "⌫⟦95% ###################⟧ ⏎ done"},
		{"a slow progress bar", bar(4 * moment)[:6], "⌫⟦5% #⟧ ⏎ 10% ##"},
		{"a spinner", join(typed("|\b/\b-\b\\\b|\b/\b-\b", blink), screening{"done\r\n"}), "done"},
		{"a clock in a corner does not make the rest young", screening{"secret", blink, "\x1b7\x1b[1;36H0001\x1b8", blink, "\x1b7\x1b[1;39H2\x1b8", blink, "\r\x1b[Kok\r\n"}, "⌫⟦secret⟧ ⏎ 0002 ⏎ ok"},

		{"vim: a command", screening{"\x1b[?1049h\x1b[6;1H:%s/a/b/g\r2 substitutions\x1b[1;1Htext", MaxAge}, "⌫⟦:%s/a/b/g⟧ ⏎ text ⏎ 2 substitutions"},
		{"vim: a command, typed", join(screening{"\x1b[?1049h\x1b[6;1H"}, typed(":wq", blink/2), screening{"\x1b[6;1H\x1b[K\x1b[?1049l\r\n"}), "⌫⟦:wq⟧"},
		{"less: a search", screening{"\x1b[?1049h\x1b[6;1H:\r\x1b[K/", blink, "needle\r\x1b[K\x1b[1;1Hneedle\r\n:"}, "⌫⟦:⟧ ⏎ ⌫⟦/needle⟧ ⏎ needle|:"},
		{"lines that are drawn over at once", screening{"\x1b[?1049h\x1b[1;1Hone\r\ntwo\r\n\x1b[1;1Hxxx\r\nyyy\r\n", MaxAge}, "one|two|xxx|yyy"},
		{"panes side by side", screening{"\x1b[?1049h\x1b[5;1H$ typed   │$ other\x1b[5;8H", moment, "\x1b[4;1H          │\x1b[4;1Houtput\x1b[5;1H$      ", MaxAge},
			"⌫⟦$ typed⟧ ⏎ output    │ ⏎ $         │$ other"},
		{"panes that scroll", screening{"\x1b[?1049h\x1b[5;1H$ typed   │$ other\x1b[5;8H", moment, "\x1b[4;1H$ typed   │\x1b[5;1H$      ", MaxAge},
			"$ typed   │ ⏎ $         │$ other"},

		{"real brackets", screening{"⟦x⟧\b", moment, "\r\x1b[Ky⟧\r\n"}, "⌫⟦[x]⟧ ⏎ y]"},
		{"invisible", screening{"\x1b[8msecret\x1b[28m!\x1b[0m\r\n"}, "◌⟦secret⟧!"},
		{"invisible, among colours", screening{"a\x1b[31;8;48;5;8mb\x1b[38;5;0mc\x1b[md\r\n"}, "a◌⟦bc⟧d"},
		{"bright black is not invisible", screening{"\x1b[38;5;8mb\x1b[38;2;8;8;8mc\x1b[48:5:8md\x1b[58;5;8me\x1b[m\r\n"}, "bcde"},
		{"invisible over lines", screening{"\x1b[8mone\r\ntwo\r\n\x1b[mthree\r\n"}, "◌⟦one⟧|◌⟦two⟧|three"},
		{"invisible over the edge", screening{"\x1b[8m" + strings.Repeat("x", 50) + "\x1b[m.\r\n"}, "◌⟦" + strings.Repeat("x", 50) + "⟧."},
		{"invisible, saved and restored", screening{"\x1b[8m\x1b7\x1b[ma\x1b8\x1b[Cb\r\n"}, "a◌⟦b⟧"},
		{"invisible before a reset", screening{"\x1b[8ma\x1b[!pb\x1b[8m\x1bcc\r\n"}, "◌⟦a⟧b ⏎ c"},
		{"made visible", screening{"\x1b[8mab\x1b[m\rab\r\n"}, "ab"},
		{"invisible spaces", screening{"\x1b[8m   \x1b[mx\r\n"}, "x"},
		{"invisible, and gone", screening{"$ \x1b[8msecret\x1b[m", moment, "\r\x1b[Kok\r\n"}, "⌫⟦$ ◌⟦secret⟧⟧ ⏎ ok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(test.shown.texts(t, k, 40, 6, false), "|")
			if got != test.record {
				t.Errorf("reads\n%q, expected\n%q", got, test.record)
			}
			if again := strings.Join(test.shown.texts(t, k, 40, 6, true), "|"); again != got {
				t.Errorf("with restarts\n%q, without\n%q", again, got)
			}
		})
	}
}

// TestTransientLimits: a screen that changes constantly does not make a text large, and the text
// notes what was omitted.
func TestTransientLimits(t *testing.T) {
	k := testKey(t)
	for name, draw := range map[string]func(i int) string{
		"a line":        func(i int) string { return fmt.Sprintf("\r%0100d", i) },
		"a screen":      func(i int) string { return "\x1b[H" + strings.Repeat(fmt.Sprintf("%0100d\r\n", i), 40) },
		"a long line":   func(i int) string { return "\x1b[H" + strings.Repeat(fmt.Sprint(i%10), 5000) },
		"short changes": func(i int) string { return fmt.Sprintf("\x1b[%d;1H%d", 1+i%5, i*7919%100_000) },
	} {
		t.Run(name, func(t *testing.T) {
			shown := screening{"\x1b[?1049h"}
			for i := range 400 {
				shown = append(shown, strings.ReplaceAll(draw(i), "\r\n", "\x1b[E"), standing)
			}
			most, omitted := 0, false
			for _, text := range append(shown, MaxAge).texts(t, k, 120, 50, false) {
				checkText(t, []byte(text))
				size := 0
				for line := range strings.SplitSeq(text, lineSeparator) {
					if strings.HasPrefix(line, erasedMark) {
						size += len(line)
					}
				}
				most = max(most, size)
				omitted = omitted || strings.Contains(text, "⌫⟦…⟧")
			}
			if limit := maxTransientBytes + (maxTransients+1)*(len(erasedMark)+len(endOfMark)) + 3; most == 0 || most > limit {
				t.Errorf("%d bytes that are gone are in a text, expected %d at most", most, limit)
			}
			if !omitted && most > maxTransientBytes/2 && name != "a line" {
				t.Error("no text notes the omission")
			}
		})
	}
}

// TestTextWithoutTerminal: the output of a command without a terminal is rendered as on the user's
// terminal nevertheless.
func TestTextWithoutTerminal(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(s *script)
		want string // texts, separated by |
	}{
		{"overstruck, as manual pages are", func(s *script) { s.show(0, "N\bNA\bAM\bME\bE _\bf_\bi\n") }, "NAME fi"},
		{"the cursor is back, and all is there", func(s *script) { s.show(0, "secret\b\b\b\b\b\b\n") }, "secret"},
		{"overwritten after a moment", func(s *script) {
			s.show(0, "secret")
			s.at += standing
			s.show(0, "\b\b\b\b\b\bpublic\n")
		}, "⌫⟦secret⟧ ⏎ public"},
		{"invisible", func(s *script) { s.show(0, "a\x1b[8mb\nc\n\x1b[md\n") }, "a◌⟦b⟧|◌⟦c⟧|d"},
		{"invisible, hidden in a sequence", func(s *script) { s.show(0, "a\x1b[\x008mb\x1b[m\n\x1b\x00[8mc\n") }, "a◌⟦b⟧|◌⟦c⟧"},
		{"invisible on one stream", func(s *script) {
			s.show(0, "\x1b[8m\n")
			s.show(1, "err\n")
			s.show(0, "out\n")
		}, "|err|◌⟦out⟧"},
		{"spaces stay where no terminal is needed", func(s *script) { s.show(0, "  \x1b[38;5;8mindented\x1b[m \n") }, "  indented "},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			test.run(s)
			var texts []string
			for _, r := range s.take() {
				texts = append(texts, string(r.Text))
			}
			if got := strings.Join(texts, "|"); got != test.want {
				t.Errorf("reads\n%q, expected\n%q", got, test.want)
			}
		})
	}
}
