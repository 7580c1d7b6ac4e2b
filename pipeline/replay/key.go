package replay

import "io"

// A Key is what somebody presses to control a [Player].
type Key int

const (
	KeyNone    Key = iota
	KeyPause       // stop, and go on: space
	KeyStep        // show what comes next, and stop: .
	KeyFaster      // twice as fast: +
	KeySlower      // half as fast: -
	KeyBack        // five seconds back: left
	KeyForward     // five seconds on: right
	KeyEnd         // to the end: End, G
	KeyQuit        // q, Ctrl-C
	KeyRefresh     // no key: tell the status again
	KeyTenth       // to the start: 0, Home; KeyTenth+n to n tenths: 1 to 9
)

// ReadKeys sends the keys that are pressed until reading fails or ends, or done is. What a terminal
// sends by itself, such as an answer to a question that somebody asked it before, is no key.
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

// A keyDecoder reads what a terminal sends.
type keyDecoder struct {
	state filterState
	// of the sequence: what is before its final byte is not empty
	parameters bool
	number     byte // the first digit of the parameters
	single     bool // behind ESC O: one byte follows
}

func (d *keyDecoder) next(c byte) Key {
	if c == 3 { // Ctrl-C, whatever came before
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
