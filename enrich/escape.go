package enrich

import (
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// parser is the state of an escape-sequence parser between two bytes: ECMA-48 sequences as xterm
// reads them, and the title strings of screen and tmux, in as much detail as finding their ends
// takes. Its values are in segments: never renumber them.
type parser uint8

const (
	ground    parser = 0
	escape    parser = 1 // after ESC
	escapeMid parser = 2 // after ESC and intermediate bytes (ESC ( B)
	control   parser = 3 // in a control sequence (CSI)
	text      parser = 4 // in a control string: OSC, DCS, SOS, PM, APC or a title (ESC k)
	textEsc   parser = 5 // after an ESC in a control string, perhaps of its terminator ESC \
	textC1    parser = 6 // after the first byte of U+009C, perhaps, in a control string: its other terminator
	textHigh  parser = 7 // after a byte that is not ASCII in a control string: a byte 0x9C may be of its rune
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

// next is the state after one byte. visible says that the byte is not part of a sequence:
// it is shown, or a control character that acts by itself.
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
		case c >= utf8.RuneSelf: // not a byte of a sequence: it ends there
			return ground, true
		case c == '[':
			return control, false
		case c == ']', c == 'P', c == 'X', c == '^', c == '_', c == 'k':
			return text, false
		case 0x20 <= c && c <= 0x2f:
			return escapeMid, false
		case c < 0x20: // acts by itself, in the middle of the sequence
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
		if c >= utf8.RuneSelf { // not a byte of a control sequence: it ends there, as in xterm
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
		case 0x9c: // the terminator of a terminal that does not read UTF-8
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
		// ESC \ ends the string. Anything else begins another sequence, which also ends it.
		if c == '\\' {
			return ground, false
		}
		return escape.next(c)
	}
	return ground, true
}

// nextFrozen is next as it was when the texts of events were fixed: ESC k is no string, and of the
// bytes that are not ASCII only U+009C ends one.
func (p parser) nextFrozen(c byte) (state parser, visible bool) {
	switch {
	case c == 'k' && (p == escape || p == textEsc):
		return ground, false
	case c >= utf8.RuneSelf && c != 0xc2 && (p == text || p == textC1 && c != 0x9c):
		return text, false
	}
	return p.next(c)
}

// began is where the escape sequence at hand began, when the byte at i has taken the parser from p
// to next: there, at the escape character before it, or where the one before began.
func (p parser) began(next parser, c byte, i, before int) int {
	switch {
	case c == esc && next == escape:
		return i
	case p == textEsc && c != '\\':
		return i - 1
	}
	return before
}

// scan reads a piece of a stream and appends to dst what a person reads of it: no escape sequence,
// no control character; a tab is a space, and so is a carriage return or a line feed in the middle,
// a backspace takes back the rune before it, and a byte that is not UTF-8 is U+FFFD.
//
// safe is where the piece may be cut: behind its last whole rune and escape sequence. dst, and
// state, are those at safe; where final is set, nothing follows, and safe is the end of the piece.
func scan(dst, piece []byte, state parser, final bool) (read []byte, safe int, at parser) {
	return scanWith(dst, piece, state, final, false)
}

// scanWith is scan; where frozen is set, it reads as [parser.nextFrozen] does, and leaves marks as
// they are.
func scanWith(dst, piece []byte, state parser, final, frozen bool) (read []byte, safe int, at parser) {
	start := len(dst) // a backspace takes back nothing before this piece
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
		switch { // a sequence that another one ends is whole, though the state never is ground
		case c == esc && state != ground && (!state.inString() || state == textEsc):
			safe, at, mark = i, ground, len(dst)
		case state == textEsc && c != '\\' && i > 0: // before the ESC, which did not begin a terminator
			safe, at, mark = i-1, ground, len(dst)
		}
		next, visible := state.next(c)
		if frozen {
			next, visible = state.nextFrozen(c)
		}
		if visible && c >= utf8.RuneSelf { // the byte ended a sequence and is shown: look at it again
			state = next
			safe, at, mark = i, ground, len(dst)
			continue
		}
		state = next
		i++
		if visible {
			switch c {
			case '\r', '\n', '\v', '\f': // a command that was asked for may have lines
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
