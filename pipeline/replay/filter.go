package replay

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// Filter passes the part of a session's output that can only display something, so that a recording
// of an untrusted user can be played on a terminal. The zero value is ready. It is not safe for
// concurrent use.
//
// The filter is an allowlist: printable runes; the control characters BEL, BS, HT, LF, VT, FF, CR,
// SO and SI; and the sequences that move the cursor, write, erase, scroll, set colors, and select
// the character set, the cursor's shape or the alternate screen. Everything else is dropped. That
// includes everything a terminal responds to (ENQ, DA, DSR, DECRQM, DECRQSS, DECRQCRA, XTVERSION,
// title and size reports), all control strings (OSC with titles, colors, links and the clipboard;
// DCS, APC, PM, SOS with graphics; the titles of screen and tmux, ESC k), and everything that
// changes keys or makes the terminal send input (mouse, focus, bracketed paste, keyboard
// protocols), prints, resizes the window, moves tab stops or erases the scrollback. A full reset
// (RIS) is replaced by a reset of the modes and the screen. Bytes that are not UTF-8 become U+FFFD,
// so that no terminal interprets them as 8-bit controls.
//
// The filter does not protect against bugs of a terminal in the allowed sequences.
type Filter struct {
	state   filterState
	pending []byte // an incomplete rune or sequence; at most maxSequence bytes
	alt     bool   // the alternate screen is active
	// originModes reports whether DECOM or DECLRMM has been set, which change the origin of cursor
	// positions.
	originModes bool
}

// filterState is the state of the parser for ECMA-48 sequences.
type filterState uint8

const (
	atGround  filterState = iota
	inEscape              // after ESC and intermediate bytes
	inControl             // in a control sequence (CSI)
	inString              // in a control string
)

// maxSequence is the maximum length of a sequence that passes.
const maxSequence = 256

// Append appends the allowed part of b to dst. Runes and sequences may be split across calls.
func (f *Filter) Append(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		c := b[i]
		if f.state == atGround && (c >= utf8.RuneSelf || len(f.pending) > 0) {
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
			f.state, f.pending = inEscape, f.pending[:0]
		case c == 0x18 || c == 0x1a: // CAN and SUB end a sequence
			f.state, f.pending = atGround, f.pending[:0]
		case f.state == inString:
			// U+009C ends it, and so does a byte 0x9C that is not part of a rune.
			ends := c == '\a' || c == 0x9c && (len(f.pending) == 0 || f.pending[0] == 0xc2)
			f.pending = f.pending[:0]
			switch {
			case ends:
				f.state = atGround
				continue
			case c >= utf8.RuneSelf:
				f.pending = append(f.pending, c)
			}
		case c == 0x7f: // ignored
		case c < 0x20: // takes effect even within a sequence
			if 0x07 <= c && c <= 0x0f {
				dst = append(dst, c)
			}
		case f.state == inEscape:
			dst = f.escape(dst, c)
		case f.state == inControl:
			dst = f.control(dst, c)
		}
		if f.state == atGround && c >= utf8.RuneSelf { // it ended a sequence and is text itself
			i--
		}
	}
	return dst
}

// rune processes a rune at the start of b and returns how many bytes of b it used.
func (f *Filter) rune(dst, b []byte) ([]byte, int) {
	whole := b
	if len(f.pending) > 0 {
		whole = append(f.pending, b[:min(len(b), utf8.UTFMax)]...)
	}
	if !utf8.FullRune(whole) {
		f.pending = append(f.pending[:0], whole...)
		return dst, len(b)
	}
	r, size := utf8.DecodeRune(whole)
	pending := len(f.pending)
	f.pending = f.pending[:0]
	switch {
	case r == utf8.RuneError && size == 1:
		for range max(pending, 1) { // none of the pending bytes begins another rune
			dst = append(dst, "\ufffd"...)
		}
		return dst, max(1-pending, 0)
	case r < 0xa0: // C1 controls
	default:
		dst = append(dst, whole[:size]...)
	}
	return dst, size - pending
}

// escape processes a byte after ESC.
func (f *Filter) escape(dst []byte, c byte) []byte {
	switch {
	case c > 0x7f:
	case c <= 0x2f: // intermediate
		f.pending = append(f.pending, c)
		if len(f.pending) > 1 {
			f.pending = append(f.pending[:0], "!!"...) // not allowed with any final byte
		}
		return dst
	case len(f.pending) == 0:
		switch c {
		case '[':
			f.state = inControl
			return dst
		case ']', 'P', 'X', '^', '_', 'k': // k: the title of screen and tmux
			f.state = inString
			return dst
		case '7', '8', 'D', 'E', 'M':
			dst = append(dst, 0x1b, c)
		case 'c':
			dst = append(f.AppendReset(dst), clearScreen...)
		}
	case len(f.pending) == 1 && bytes.IndexByte([]byte("()*+"), f.pending[0]) >= 0,
		len(f.pending) == 1 && f.pending[0] == '#' && (c == '8' || '3' <= c && c <= '6'):
		dst = append(dst, 0x1b, f.pending[0], c)
	}
	f.state, f.pending = atGround, f.pending[:0]
	return dst
}

// control processes a byte of a control sequence.
func (f *Filter) control(dst []byte, c byte) []byte {
	if c < 0x40 {
		if len(f.pending) <= maxSequence {
			f.pending = append(f.pending, c)
		}
		return dst
	}
	if c < 0x7f && len(f.pending) <= maxSequence {
		dst = f.sequence(dst, f.pending, c)
	}
	f.state, f.pending = atGround, f.pending[:0]
	return dst
}

// Allowed private modes. All of them are undone by AppendReset.
var (
	allowedPrivateModes = []string{"5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049"}
	alternateModes      = []string{"47", "1047", "1049"}
)

// allowedFinals are the final bytes of control sequences that are allowed with numeric parameters,
// in addition to the cases in sequence.
const allowedFinals = "@ABCDEFGHIKLMPSTXZ`abdefmrsu"

// sequence appends the allowed part of a control sequence.
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
	case bytes.IndexByte([]byte(allowedFinals), final) >= 0:
		return pass()
	}
	return dst
}

// modes appends the allowed part of a sequence that sets or resets modes.
func (f *Filter) modes(dst, numbers []byte, private bool, final byte) []byte {
	for number := range bytes.SplitSeq(numbers, []byte(";")) {
		if !private {
			if string(number) == "4" { // IRM
				dst = append(append(dst, "\x1b[4"...), final)
			}
			continue
		}
		for _, allowed := range allowedPrivateModes {
			if allowed == string(number) {
				dst = append(append(append(dst, "\x1b[?"...), number...), final)
			}
		}
		f.originModes = f.originModes || string(number) == "6" || string(number) == "69"
		for _, mode := range alternateModes {
			if mode == string(number) {
				f.alt = final == 'h'
			}
		}
	}
	return dst
}

// areNumbers reports whether parameters are numbers of at most four digits.
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
	// resetModes restores the modes that the filter allows to change. DECSTBM moves the cursor, so
	// it is saved and restored around it.
	resetModes = "\x1b7\x1b[r\x1b8\x1b[4l\x1b[?5l\x1b[?7h\x1b[?12l\x1b[?45l\x1b[?25h\x1b(B\x1b)B\x0f\x1b[0m\x1b[0 q"
)

// AppendReset appends sequences that undo the effects of everything that has passed: they select
// the main screen and restore the default modes, colors and character sets. The displayed text
// remains. An incomplete rune or sequence is discarded.
func (f *Filter) AppendReset(dst []byte) []byte {
	if f.alt {
		dst = append(dst, "\x1b[?1049l"...)
	}
	if f.originModes { // conditional, since resetting them moves the cursor
		dst = append(dst, "\x1b[?6l\x1b[?69l"...)
	}
	*f = Filter{pending: f.pending[:0]}
	return append(dst, resetModes...)
}
