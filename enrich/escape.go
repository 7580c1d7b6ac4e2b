package enrich

import (
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// parser is the state of an escape-sequence parser between two bytes. It recognizes ECMA-48
// sequences like xterm, and the title strings of screen and tmux, just precisely enough to find
// their ends. Its values are stored in segments: never renumber them.
type parser uint8

const (
	ground    parser = 0
	escape    parser = 1 // after ESC
	escapeMid parser = 2 // after ESC and intermediate bytes (ESC ( B)
	control   parser = 3 // in a control sequence (CSI)
	text      parser = 4 // in a control string: OSC, DCS, SOS, PM, APC or a title (ESC k)
	textEsc   parser = 5 // after an ESC in a control string, which may start its terminator ESC \
	textC1    parser = 6 // after 0xC2 in a control string, which may start its other terminator, U+009C
	textHigh  parser = 7 // after a non-ASCII byte in a control string: 0x9C may continue its rune
	textData  parser = 8 // at the start of a line, in a control string whose lines are data: see held.go
)

// inString reports whether the parser is in a control string.
func (p parser) inString() bool { return text <= p && p <= textData }

const (
	esc = 0x1b
	can = 0x18
	sub = 0x1a
	bel = 0x07
	del = 0x7f
)

// next returns the state after one byte. visible reports that the byte is not part of a sequence:
// it is shown, or it is a control character that takes effect by itself.
func (p parser) next(c byte) (state parser, visible bool) {
	switch {
	case c == esc && (!p.inString() || p == textEsc):
		return escape, false
	case (c == can || c == sub) && p != ground: // both abort a sequence
		return ground, false
	}
	switch p {
	case escape:
		switch {
		case c >= utf8.RuneSelf: // not part of a sequence, which ends here
			return ground, true
		case c == '[':
			return control, false
		case c == ']', c == 'P', c == 'X', c == '^', c == '_', c == 'k':
			return text, false
		case 0x20 <= c && c <= 0x2f:
			return escapeMid, false
		case c < 0x20: // takes effect immediately, in the middle of the sequence
			return escape, false
		}
		return ground, false
	case escapeMid:
		if c < 0x30 {
			return escapeMid, false
		}
		return ground, c >= utf8.RuneSelf
	case control:
		if 0x40 <= c && c <= 0x7e {
			return ground, false
		}
		if c >= utf8.RuneSelf { // not part of a control sequence, which ends here, as in xterm
			return ground, true
		}
		return control, false
	case text:
		switch c {
		case bel:
			return ground, false
		case esc:
			return textEsc, false
		case 0xc2:
			return textC1, false
		case 0x9c: // the terminator for a terminal without UTF-8
			return ground, false
		}
		if c >= utf8.RuneSelf {
			return textHigh, false
		}
		return text, false
	case textC1:
		if c == 0x9c {
			return ground, false
		}
		return textHigh.next(c)
	case textHigh:
		if c == 0x9c {
			return textHigh, false
		}
		return text.next(c)
	case textData:
		return text.next(c)
	case textEsc:
		// ESC \ ends the string. Any other byte starts another sequence, which also ends it.
		if c == '\\' {
			return ground, false
		}
		return escape.next(c)
	}
	return ground, true
}

// nextFrozen is the version of next that event texts are fixed to: ESC k starts no string, and the
// only non-ASCII terminator is U+009C.
func (p parser) nextFrozen(c byte) (state parser, visible bool) {
	switch {
	case c == 'k' && (p == escape || p == textEsc):
		return ground, false
	case c >= utf8.RuneSelf && c != 0xc2 && (p == text || p == textC1 && c != 0x9c):
		return text, false
	}
	return p.next(c)
}

// began returns the start of the current escape sequence after the byte at i has changed the state
// from p to next: i, the escape character before it, or the previous start.
func (p parser) began(next parser, c byte, i, before int) int {
	switch {
	case c == esc && next == escape:
		return i
	case p == textEsc && c != '\\':
		return i - 1
	}
	return before
}

// scan appends the readable text of a piece of a stream to dst: without escape sequences and
// control characters. A tab becomes a space, as does a carriage return or line feed in the middle;
// a backspace removes the rune before it; and a byte that is not UTF-8 becomes U+FFFD.
//
// safe is the offset at which the piece may be cut: after its last complete rune and escape
// sequence. The returned text and state are those at safe. If final is set, nothing follows, and
// safe is the end of the piece.
func scan(dst, piece []byte, state parser, final bool) (read []byte, safe int, at parser) {
	return scanWith(dst, piece, state, final, false)
}

// scanWith is scan; if frozen is set, it uses [parser.nextFrozen] and keeps mark brackets.
func scanWith(dst, piece []byte, state parser, final, frozen bool) (read []byte, safe int, at parser) {
	start := len(dst) // backspaces do not reach text before this piece
	safe, at = 0, state
	mark := len(dst)
	for i := 0; i < len(piece); {
		c := piece[i]
		if state == ground && c >= 0x20 && c != del {
			if c < utf8.RuneSelf {
				n := schema.PrintableLength(piece[i:])
				dst = append(dst, piece[i:i+n]...)
				i += n
			} else {
				if !utf8.FullRune(piece[i:]) && !final {
					break
				}
				r, size := utf8.DecodeRune(piece[i:])
				switch {
				case r == utf8.RuneError && size == 1:
					dst = append(dst, "\ufffd"...)
				case r >= 0x80 && r < 0xa0: // C1 controls
				case r == '\u2028' || r == '\u2029':
					dst = append(dst, ' ')
				case (r == markBegin || r == markEnd) && !frozen:
					dst = append(dst, byte(unmarked(r)))
				default:
					dst = append(dst, piece[i:i+size]...)
				}
				i += size
			}
			safe, at, mark = i, ground, len(dst)
			continue
		}
		switch { // another sequence completes this one, though the state never is ground
		case c == esc && state != ground && (!state.inString() || state == textEsc):
			safe, at, mark = i, ground, len(dst)
		case state == textEsc && c != '\\' && i > 0: // before the ESC, which did not start a terminator
			safe, at, mark = i-1, ground, len(dst)
		}
		next, visible := state.next(c)
		if frozen {
			next, visible = state.nextFrozen(c)
		}
		if visible && c >= utf8.RuneSelf { // the byte ended a sequence and is shown: process it again
			state = next
			safe, at, mark = i, ground, len(dst)
			continue
		}
		state = next
		i++
		if visible {
			switch c {
			case '\r', '\n', '\v', '\f': // a requested command may have several lines
				if len(dst) > start {
					dst = append(dst, ' ')
				}
			case '\t':
				dst = append(dst, ' ')
			case '\b':
				if len(dst) > start {
					_, size := utf8.DecodeLastRune(dst[start:])
					dst = dst[:len(dst)-size]
				}
			}
		}
		if state == ground {
			safe, at, mark = i, ground, len(dst)
		}
	}
	if final {
		return dst, len(piece), state
	}
	return dst[:mark], safe, at
}
