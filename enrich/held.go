package enrich

import (
	"bytes"
	"time"
)

// Line ends in control strings. A terminal ignores all input up to a string's terminator, so the
// lines of an image, or of a title that contains a command of several lines, are not text. But a
// string that never ends would hide everything that follows. So a line whose end is in a string is
// held until it is known whether the string ends, at most as long as an unfinished line: up to
// MaxLine bytes or MaxAge. If the string ends, its content is in no text. Otherwise the first of
// these line ends terminates the string, and the texts contain the rest. Lines that look like data
// (isData) are treated as a larger image instead: then the first line that does not look like data
// ends the string.

// held is the part of a line that is held back. The zero value holds nothing.
type held struct {
	bytes int    // of pending: complete lines, each ending in the same control string
	state parser // after them
}

// endsInString reports whether the bytes end inside a control string, with state the parser's state
// before them.
func endsInString(b []byte, state parser) bool {
	start := 0
	if !state.inString() {
		if bytes.IndexByte(b, esc) < 0 {
			return false
		}
		start, state = bytes.LastIndexByte(b, esc)+1, escape
	}
	for _, c := range b[start:] {
		if state, _ = state.next(c); state == ground && start > 0 {
			return false
		}
	}
	return state.inString()
}

// hold is called when pending ends with a newline in a control string, or after lines that are
// held. It reports whether all of them are held for the end of the same string.
func (l *line) hold() bool {
	h := &l.held
	switch {
	case h.bytes > 0:
		for _, c := range l.pending[h.bytes:] {
			if h.state, _ = h.state.next(c); !h.state.inString() {
				return false
			}
		}
	case l.state == textData:
		return false
	default:
		h.state = stateAfter(l.pending, l.state)
	}
	h.bytes = len(l.pending)
	return true
}

// stateAfter returns the parser's state after bytes.
func stateAfter(b []byte, state parser) parser {
	for _, c := range b {
		state, _ = state.next(c)
	}
	return state
}

// release emits the pending lines; unless forced, it keeps those that must be held. It also keeps
// the bytes after the last newline.
func (l *line) release(forced bool, now time.Time, emit func(*line, piece)) {
	if l.held.bytes == 0 && forced {
		return // no line is complete
	}
	rest := pendingRest{l.pending, l.arrivals}
	known := len(rest.bytes) + 1 // the bytes after the last string that is known to end
	for {
		n := 1 + bytes.IndexByte(rest.bytes, '\n')
		if n == 0 {
			break
		}
		inData := l.state == textData && endOfString(rest.bytes[:n], l.state) < 0
		if inData && !isData(rest.bytes[:n], 0) {
			inData, l.state = false, ground
		}
		state := stateAfter(rest.bytes[:n], l.state)
		after := rest.bytes[n:]
		open := state.inString()
		switch {
		case inData:
			state = textData
		case !open:
			state = ground
		case len(after) >= known:
		default:
			if end := endOfString(after, state); end >= 0 {
				known = len(after) - end
				break
			}
			if !forced {
				l.keep(rest, now)
				l.held = held{len(l.pending), stateAfter(l.pending, l.state)}
				return
			}
			if state = ground; isData(after, minData) {
				state = textData
			}
			open = state == textData
		}
		rest = l.part(rest, n, state, piece{cause: whole, open: open}, emit)
	}
	l.keep(rest, now)
}

// endOfString returns the offset at which the current control string ends, or -1.
func endOfString(b []byte, state parser) int {
	for i, c := range b {
		if state, _ = state.next(c); !state.inString() {
			return i
		}
	}
	return -1
}

// minData is the minimum size of the data in a control string for it to be treated as a large
// image, and minDataLine the minimum average length of its lines.
const minData, minDataLine = 256, 32

// isData reports whether bytes look like lines of image data (base64 or sixels): without spaces,
// and with only the punctuation that these have. If atLeast is not 0, it also requires that many
// bytes, in long lines.
func isData(b []byte, atLeast int) bool {
	lines := 0
	for _, c := range b {
		switch {
		case c == '\n':
			lines++
		case c == '\r', '0' <= c && c <= '9', '?' <= c && c <= '~', bytes.IndexByte([]byte(`+/=;#!$-"`), c) >= 0:
		default:
			return false
		}
	}
	return atLeast == 0 || len(b) >= max(atLeast, lines*minDataLine)
}
