package session

import (
	"bytes"
	"io"
	"sync/atomic"
)

// resetTerminal undoes the modes that a killed full-screen program leaves behind, so that the
// following message is readable and the user's shell is usable. It has no effect on a terminal in
// the state of a shell, wherever its cursor is.
const resetTerminal = "\x1b7" + // save the cursor of the current screen: 1049 restores that of the main screen
	"\x1b[?1049l" + // alternate screen
	"\x1b7\x1b[r\x1b8" + // scrolling region, which moves the cursor
	"\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l" + // mouse and focus reports
	"\x1b[?2004l" + // bracketed paste
	"\x1b[?2026l" + // synchronized output
	"\x1b[?1l\x1b>" + // cursor and numeric keys
	"\x1b[4l\x1b[?7h" + // insert mode, and wrapping
	"\x1b[?25h" + // cursor
	"\x1b(B\x0f" + // character sets
	"\x1b[0m" // colours

// escapeWatch forwards a terminal's output and notes whether it contained an escape sequence:
// without one, the terminal needs no reset.
type escapeWatch struct {
	io.Reader
	seen *atomic.Bool
}

func (w escapeWatch) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if !w.seen.Load() && bytes.IndexByte(b[:n], '\x1b') >= 0 {
		w.seen.Store(true)
	}
	return n, err
}
