package replay

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// A Filter passes on what a session showed as far as it can only show something, so that a
// recording can be played on somebody's terminal whoever made it. The zero value is ready; it is
// for one goroutine.
//
// What passes is a list: printable runes; the control characters BEL, BS, HT, LF, VT, FF, CR, SO
// and SI; and the sequences that move the cursor, write, erase, scroll, colour, choose a character
// set, the cursor's shape, or the alternate screen. Everything else is dropped, among it all to
// which a terminal answers (ENQ, DA, DSR, DECRQM, DECRQSS, DECRQCRA, XTVERSION, title and size
// reports), each control string (OSC with titles, colours, links and the clipboard; DCS, APC, PM,
// SOS with graphics; the titles of screen and tmux, ESC k), what changes keys or has the terminal
// send input (mouse, focus, bracketed paste, keyboard protocols), prints, resizes the window, moves
// tab stops or erases the lines above the window. A full reset (RIS) becomes one of the modes and
// of the screen alone. Bytes that are not UTF-8 become U+FFFD, so that no terminal takes them for
// 8-bit controls.
//
// What passes is not proof against mistakes of a terminal in sequences that are on the list.
type Filter struct {
	state filterState
	held  []byte // a rune or a sequence that is not whole yet; at most maxSequence bytes
	alt   bool   // the alternate screen is shown
	// placed says that DECOM or DECLRMM has been set, which say where the cursor's places begin.
	placed bool
}

// filterState is where in a sequence of ECMA-48 the filter is.
type filterState uint8

const (
	atGround  filterState = iota
	inEscape              // behind ESC, and intermediate bytes
	inControl             // in a control sequence (CSI)
	inString              // in a control string
)

// maxSequence is how long a sequence can be that passes.
const maxSequence = 256

// Append appends what may pass of b to dst. A rune or a sequence can begin in one call and end in
// another.
func (f *Filter) Append(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		c := b[i]
		if f.state == atGround && (c >= utf8.RuneSelf || len(f.held) > 0) {
			var n int
			dst, n = f.rune(dst, b[i:])
			i += n
			continue
		}
		i++
		switch {
		case f.state == atGround && 0x20 <= c && c < 0x7f:
			dst = append(dst, c)
		case c == 0x1b:
			f.state, f.held = inEscape, f.held[:0]
		case c == 0x18 || c == 0x1a: // CAN and SUB end a sequence
			f.state, f.held = atGround, f.held[:0]
		case f.state == inString:
			// U+009C ends it, and so does a byte 0x9C that is of no rune.
			ends := c == '\a' || c == 0x9c && (len(f.held) == 0 || f.held[0] == 0xc2)
			f.held = f.held[:0]
			switch {
			case ends:
				f.state = atGround
				continue
			case c >= utf8.RuneSelf:
				f.held = append(f.held, c)
			}
		case c == 0x7f: // is nothing
		case c < 0x20: // acts by itself, in the middle of a sequence too
			if 0x07 <= c && c <= 0x0f {
				dst = append(dst, c)
			}
		case f.state == inEscape:
			dst = f.escape(dst, c)
		case f.state == inControl:
			dst = f.control(dst, c)
		}
		if f.state == atGround && c >= utf8.RuneSelf { // it ended a sequence, and is shown
			i--
		}
	}
	return dst
}

// rune passes on a rune, and says how many bytes of b it took.
func (f *Filter) rune(dst, b []byte) ([]byte, int) {
	whole := b
	if len(f.held) > 0 {
		whole = append(f.held, b[:min(len(b), utf8.UTFMax)]...)
	}
	if !utf8.FullRune(whole) {
		f.held = append(f.held[:0], whole...)
		return dst, len(b)
	}
	r, size := utf8.DecodeRune(whole)
	held := len(f.held)
	f.held = f.held[:0]
	switch {
	case r == utf8.RuneError && size == 1:
		for range max(held, 1) { // none of those that were held begins another rune
			dst = append(dst, "\ufffd"...)
		}
		return dst, max(1-held, 0)
	case r < 0xa0: // C1 controls
	default:
		dst = append(dst, whole[:size]...)
	}
	return dst, size - held
}

// escape takes a byte behind ESC.
func (f *Filter) escape(dst []byte, c byte) []byte {
	switch {
	case c > 0x7f:
	case c <= 0x2f: // intermediate
		f.held = append(f.held, c)
		if len(f.held) > 1 {
			f.held = append(f.held[:0], "!!"...) // of which none passes
		}
		return dst
	case len(f.held) == 0:
		switch c {
		case '[':
			f.state = inControl
			return dst
		case ']', 'P', 'X', '^', '_', 'k': // k: a title of screen and tmux
			f.state = inString
			return dst
		case '7', '8', 'D', 'E', 'M':
			dst = append(dst, 0x1b, c)
		case 'c':
			dst = append(f.AppendReset(dst), clearScreen...)
		}
	case len(f.held) == 1 && bytes.IndexByte([]byte("()*+"), f.held[0]) >= 0,
		len(f.held) == 1 && f.held[0] == '#' && (c == '8' || '3' <= c && c <= '6'):
		dst = append(dst, 0x1b, f.held[0], c)
	}
	f.state, f.held = atGround, f.held[:0]
	return dst
}

// control takes a byte of a control sequence.
func (f *Filter) control(dst []byte, c byte) []byte {
	if c < 0x40 {
		if len(f.held) <= maxSequence {
			f.held = append(f.held, c)
		}
		return dst
	}
	if c < 0x7f && len(f.held) <= maxSequence {
		dst = f.sequence(dst, f.held, c)
	}
	f.state, f.held = atGround, f.held[:0]
	return dst
}

// Modes that may be set and reset; what AppendReset does not undo by itself is not among them.
var (
	passingPrivateModes = []string{"5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049"}
	alternateModes      = []string{"47", "1047", "1049"}
)

// passingFinals are the control sequences that pass with plain parameters, beside those that
// sequence knows.
const passingFinals = "@ABCDEFGHIKLMPSTXZ`abdefmrsu"

// sequence passes on a control sequence with its parameters and final byte, or as much of it as may pass.
func (f *Filter) sequence(dst, parameters []byte, final byte) []byte {
	private := bytes.HasPrefix(parameters, []byte("?"))
	numbers := bytes.TrimPrefix(parameters, []byte("?"))
	pass := func() []byte {
		dst = append(dst, "\x1b["...)
		return append(append(dst, parameters...), final)
	}
	switch {
	case string(parameters) == "!" && final == 'p': // DECSTR
		return pass()
	case final == 'q' && bytes.HasSuffix(parameters, []byte(" ")) && areNumbers(bytes.TrimSuffix(parameters, []byte(" "))): // DECSCUSR
		return pass()
	case final == 'm' && areNumbers(bytes.ReplaceAll(parameters, []byte(":"), []byte(";"))):
		return pass()
	case !areNumbers(numbers):
		return dst
	case final == 'h' || final == 'l':
		return f.modes(dst, numbers, private, final)
	case final == 'J' && !bytes.Contains(numbers, []byte("3")), final == 'K':
		return pass()
	case private, final == 'T' && bytes.Contains(numbers, []byte(";")): // the latter begins mouse tracking
		return dst
	case bytes.IndexByte([]byte(passingFinals), final) >= 0:
		return pass()
	}
	return dst
}

// modes passes on the setting of modes, of those that may be set.
func (f *Filter) modes(dst, numbers []byte, private bool, final byte) []byte {
	for number := range bytes.SplitSeq(numbers, []byte(";")) {
		if !private {
			if string(number) == "4" { // IRM
				dst = append(append(dst, "\x1b[4"...), final)
			}
			continue
		}
		for _, passing := range passingPrivateModes {
			if passing == string(number) {
				dst = append(append(append(dst, "\x1b[?"...), number...), final)
			}
		}
		f.placed = f.placed || string(number) == "6" || string(number) == "69"
		for _, mode := range alternateModes {
			if mode == string(number) {
				f.alt = final == 'h'
			}
		}
	}
	return dst
}

// areNumbers says whether parameters are numbers of at most four digits.
func areNumbers(parameters []byte) bool {
	for number := range bytes.SplitSeq(parameters, []byte(";")) {
		if len(number) == 0 {
			continue
		}
		if n, err := strconv.Atoi(string(number)); err != nil || n < 0 || n > 9999 || number[0] < '0' {
			return false
		}
	}
	return true
}

const (
	clearScreen = "\x1b[H\x1b[2J"
	// resetModes brings back what may have been changed. DECSTBM moves the cursor, so that it is saved and restored around it.
	resetModes = "\x1b7\x1b[r\x1b8\x1b[4l\x1b[?5l\x1b[?7h\x1b[?12l\x1b[?45l\x1b[?25h\x1b(B\x1b)B\x0f\x1b[0m\x1b[0 q"
)

// AppendReset appends what brings a terminal back from all that has passed: the main screen, and the modes, colours and
// character sets that terminals start with. What is shown stays. A rune or a sequence that was not whole is forgotten.
func (f *Filter) AppendReset(dst []byte) []byte {
	if f.alt {
		dst = append(dst, "\x1b[?1049l"...)
	}
	if f.placed { // only then, since these move the cursor
		dst = append(dst, "\x1b[?6l\x1b[?69l"...)
	}
	*f = Filter{held: f.held[:0]}
	return append(dst, resetModes...)
}
