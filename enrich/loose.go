package enrich

import "bytes"

// The output of a session without a terminal is shown on the user's own, or nowhere. Its texts are
// made without an emulator, except for the few lines that a terminal would show otherwise.

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
			if end == len(b) || b[end] == 'm' { // not one of colours alone
				return true
			}
		default: // a control character in a sequence
			return true
		}
		b = b[1:]
	}
}

// looseRows is how high the terminal is that shows one line. It is as wide as any can be.
const looseRows = 24

// showLoose shows a piece of a line on a terminal of its own and appends its text to dst; ok is
// false if that failed. hidden is the state of SGR 8 before the piece, and is set to that after it.
func (b *Buffers) showLoose(dst []byte, p piece, hidden *bool) (text []byte, ok bool) {
	t := b.blank(maxWidth, looseRows)
	t.fresh, t.hidden = false, *hidden
	text, ok = t.show(dst, p)
	*hidden = ok && t.hidden
	return text, ok
}

// blank returns a new terminal, which is another's soon.
func (b *Buffers) blank(width, height int) *terminal {
	if b.terminal == nil {
		b.terminal = newTerminal(width, height)
		return b.terminal
	}
	b.terminal.width, b.terminal.height = width, height
	b.terminal.forget()
	return b.terminal
}
