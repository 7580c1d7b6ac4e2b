package enrich

import "bytes"

// The output of a session without a terminal is shown on the user's own terminal, or on none. Its
// texts need no emulator, except for the few lines that a terminal would show differently.

// needsTerminal reports whether a line has backspaces or may have invisible text.
func needsTerminal(p piece) bool {
	if p.state != ground || bytes.IndexByte(p.log, '\b') >= 0 {
		return true
	}
	for b := p.log; ; {
		i := bytes.IndexByte(b, esc)
		if i < 0 {
			return false
		}
		b = b[i:]
		if n := colour(b); n > 0 {
			b = b[n:]
			continue
		}
		switch {
		case len(b) == 1 || b[1] != '[' && b[1] >= 0x20:
		case b[1] == '[':
			end := 2
			for end < len(b) && b[end] < 0x40 {
				end++
			}
			if end == len(b) || b[end] == 'm' { // not a pure colour sequence
				return true
			}
		default: // a control character in a sequence
			return true
		}
		b = b[1:]
	}
}

// looseRows is the height of the terminal that renders a single line. Its width is the maximum.
const looseRows = 24

// showLoose renders a piece of a line on a terminal of its own and appends its text to dst; ok
// reports success. hidden is the state of SGR 8 before the piece, and is set to the state after it.
func (b *Buffers) showLoose(dst []byte, p piece, hidden *bool) (text []byte, ok bool) {
	t := b.blank(maxWidth, looseRows)
	t.fresh, t.hidden = false, *hidden
	text, ok = t.show(dst, p)
	*hidden = ok && t.hidden
	return text, ok
}

// blank returns an empty terminal, valid until the next call.
func (b *Buffers) blank(width, height int) *terminal {
	if b.terminal == nil {
		b.terminal = newTerminal(width, height)
		return b.terminal
	}
	b.terminal.width, b.terminal.height = width, height
	b.terminal.forget()
	return b.terminal
}
