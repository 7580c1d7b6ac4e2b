package replay

import "io"

// Key is a command to a [Player] from the keyboard.
type Key int

const (
	KeyNone    Key = iota
	KeyPause       // pause or continue: space
	KeyStep        // show the next output, and pause: .
	KeyFaster      // double the speed: +
	KeySlower      // halve the speed: -
	KeyBack        // five seconds back: left
	KeyForward     // five seconds forward: right
	KeyEnd         // to the end: End, G
	KeyQuit        // q, Ctrl-C
	KeyRefresh     // not a key: report the status again
	KeyTenth       // to the start: 0, Home; KeyTenth+n to n tenths: 1 to 9
)

// ReadKeys reads keyboard input and sends its keys until reading fails or ends, or done is closed.
// It ignores other input of a terminal, such as responses to earlier queries.
func ReadKeys(r io.Reader, keys chan<- Key, done <-chan struct{}) {
	var d keyDecoder
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			k := d.next(c)
			if k == KeyNone {
				continue
			}
			select {
			case keys <- k:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// keyDecoder decodes a terminal's input.
type keyDecoder struct {
	state filterState
	// parameters reports whether the current sequence has parameters.
	parameters bool
	number     byte // the first digit of the parameters
	single     bool // after ESC O: one byte follows
}

func (d *keyDecoder) next(c byte) Key {
	if c == 3 { // Ctrl-C, in any state
		*d = keyDecoder{}
		return KeyQuit
	}
	if c == 0x1b {
		*d = keyDecoder{state: inEscape}
		return KeyNone
	}
	switch d.state {
	case inEscape:
		switch c {
		case '[':
			d.state = inControl
			return KeyNone
		case 'O':
			d.state, d.single = inControl, true
			return KeyNone
		case ']', 'P', 'X', '^', '_':
			d.state = inString
			return KeyNone
		case '\\':
			d.state = atGround
			return KeyNone
		}
		d.state = atGround // with Alt
	case inString:
		if c == '\a' {
			d.state = atGround
		}
		return KeyNone
	case inControl:
		if c < 0x40 && !d.single {
			if !d.parameters {
				d.number = c
			} else {
				d.number = 0
			}
			d.parameters = true
			return KeyNone
		}
		k := KeyNone
		switch {
		case c == '~' && (d.number == '1' || d.number == '7'), c == 'H' && !d.parameters:
			k = KeyTenth
		case c == '~' && (d.number == '4' || d.number == '8'), c == 'F' && !d.parameters:
			k = KeyEnd
		case c == 'C' && !d.parameters:
			k = KeyForward
		case c == 'D' && !d.parameters:
			k = KeyBack
		}
		*d = keyDecoder{}
		return k
	}
	switch {
	case '0' <= c && c <= '9':
		return KeyTenth + Key(c-'0')
	case c == ' ':
		return KeyPause
	case c == '.':
		return KeyStep
	case c == '+', c == '=':
		return KeyFaster
	case c == '-', c == '_':
		return KeySlower
	case c == 'G':
		return KeyEnd
	case c == 'q', c == 'Q':
		return KeyQuit
	}
	return KeyNone
}
