package enrich

import (
	"strings"

	"github.com/ttydrain/ttydrain/schema"
)

// effect classifies how bytes change a fresh terminal.
type effect uint8

const (
	still    effect = iota // they only append the text that scan returns at the cursor, and change no mode
	onLine                 // they may change their own text, and modes
	anywhere               // they may also change earlier text
)

// effectOf returns the effect of bytes.
func effectOf(b []byte, state parser) (e effect) {
	shown := false
	start := -1
	for i := 0; i < len(b) && e < anywhere; i++ {
		c := b[i]
		if state == ground && c >= 0x20 && c != del {
			shown = true
			i += max(schema.PrintableLength(b[i:])-1, 0)
			continue
		}
		if n := colour(b[i:]); state == ground && n > 0 { // a fast path, since colours are frequent
			i += n - 1
			continue
		}
		next, visible := state.next(c)
		start = state.began(next, c, i, start)
		switch {
		case visible && c >= 0x80:
			shown = true
		case c < 0x20 && c != esc && (visible || state == escape || state == escapeMid || state == control):
			switch c {
			case '\t':
				if !visible {
					e = max(e, onLine)
				}
				shown = true
			case '\r':
				if shown && !isEnd(b[i:]) {
					e = max(e, onLine)
				}
			case '\b', 0x0e, 0x0f:
				e = max(e, onLine)
			case '\n':
				if i < len(b)-1 {
					e = anywhere
				}
			case '\v', '\f':
				e = anywhere
			}
		case next == ground && c != can && c != sub && start >= 0 &&
			(state == escape || state == escapeMid || state == control || state == textEsc && c != '\\'):
			e = max(e, effectOfSequence(withoutControls(b[start+1:i+1])))
		}
		state = next
	}
	return e
}

// colour returns the length of the SGR sequence at the start of b; 0 if there is none, or if it
// makes the following text invisible.
func colour(b []byte) int {
	if len(b) < 3 || b[0] != esc || b[1] != '[' {
		return 0
	}
	eight := false
	for i, c := range b[2:] {
		eight = eight || c == '8'
		if c == 'm' {
			if eight && conceal(b[2:i+2], false) {
				return 0
			}
			return i + 3
		}
		if c < 0x20 || c >= 0x40 {
			return 0
		}
	}
	return 0
}

// isEnd reports whether bytes are a line end.
func isEnd(b []byte) bool {
	return len(trimEnd(b)) == 0
}

// effectOfSequence returns the effect of an escape sequence, without its ESC.
func effectOfSequence(b []byte) effect {
	if b[0] != '[' {
		switch {
		case (b[0] == '(' || b[0] == ')') && (len(b) != 2 || b[1] == '0'): // a character set other than ASCII
			return onLine
		case len(b) == 1 && strings.IndexByte("78DEMc", b[0]) >= 0:
			return anywhere
		}
		return still
	}
	private, numbers, intermediate, final := divide(b[1:])
	p, count := parameters(numbers)
	switch {
	case final == 'p' && intermediate == '!':
		return anywhere
	case intermediate != 0:
		return still
	case private == '?' && (final == 'h' || final == 'l'):
		return effectOfModes(p[:count])
	case private != 0 && private != '?':
		return still
	case (final == 'K' || final == 'J') && p[0] == 0: // everything to the right and below is still empty
		return still
	case final == 'K':
		return onLine
	case final == 'J':
		return anywhere
	case private != 0:
		return still
	case final == 'm' && !conceal(numbers, false):
		return still
	case strings.IndexByte("m@CDGIPXZ`abhl", final) >= 0:
		return onLine
	case strings.IndexByte("ABEFHLMSTdefrsu", final) >= 0:
		return anywhere
	}
	return still
}

func effectOfModes(modes []int) (e effect) {
	for _, mode := range modes {
		switch mode {
		case 7: // DECAWM
			e = max(e, onLine)
		case 6, 47, 1047, 1048, 1049:
			e = anywhere
		}
	}
	return e
}
