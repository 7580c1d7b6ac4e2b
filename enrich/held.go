package enrich

import (
	"bytes"
	"time"
)

// Line ends in control strings. A terminal swallows all input up to a string's
// terminator, so that the lines of an image, or of a title with a command of several lines, are not
// text. But a string that nothing ends would hide all that follows. So lines whose end is in a
// string are held until it is known whether the string has one: for as long as a line that is not
// finished, which is up to MaxLine bytes or MaxAge. If it has, no text has what is in the string.
// If not, the first of these line ends ends the string, and the texts have what follows. Only lines
// that look like data (isData) are taken for an image that is larger: from then on the first line
// that does not look so ends the string.

// held is the part of a line that is held back. The zero value means none.
type held struct {
	bytes int    // of pending: whole lines, the end of each in the same control string
	state parser // after them
}

// endsInString reports whether the end of bytes is in a control string, with the parser's state
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

// hold records that pending now ends with a newline in a control string, or after lines that wait
// for the end of one. It reports whether all of them wait for the end of the same string.
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

// release emits the pending lines; unless forced is set, without those that have to wait. The bytes
// after the last newline stay.
func (l *line) release(forced bool, now time.Time, emit func(*line, piece)) {
	if l.held.bytes == 0 && forced {
		return // no line has its end
	}
	rest := pendingRest{l.pending, l.arrivals}
	known := len(rest.bytes) + 1 // the bytes that follow the last string that is known to have an end
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

// endOfString returns where the control string ends that the parser is in; -1 if it does not.
func endOfString(b []byte, state parser) int {
	for i, c := range b {
		if state, _ = state.next(c); !state.inString() {
			return i
		}
	}
	return -1
}

// minData is how much data there is at least in a control string that is taken for a large image,
// minDataLine how long its lines are on average.
const minData, minDataLine = 256, 32

// isData reports whether bytes are lines as those of an image (base64 or sixels) are: without
// spaces, and with no punctuation but the one that these have; and, where there are to be some
// bytes at least, long.
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
