package enrich

// control executes a control character.
func (t *terminal) control(c byte) {
	s := t.active()
	switch c {
	case '\b':
		s.x, s.wrapNext = max(0, s.x-1), false
	case '\t':
		t.tabs(1)
	case '\n', '\v', '\f':
		s.rows[s.y].entered = false
		t.index()
	case '\r':
		if t.alternate {
			t.enter()
		}
		s.x, s.wrapNext = 0, false
	case 0x0e, 0x0f: // SO and SI
		t.shifted = c == 0x0e
	}
}

// tabs moves the cursor to the nth next tab stop. There is one at every eighth column.
func (t *terminal) tabs(n int) {
	s := t.active()
	x := min((s.x/8+n)*8, t.width-1)
	if x > s.x {
		s.rows[s.y].tab(s.x, x)
		s.x = x
	}
}

// withoutControls returns an escape sequence without the control characters at its start, which
// take effect by themselves.
func withoutControls(b []byte) []byte {
	for len(b) > 1 && b[0] < 0x20 {
		b = b[1:]
	}
	return b
}

// sequence executes an escape sequence, without its ESC. Unknown sequences have no effect.
func (t *terminal) sequence(b []byte) {
	s := t.active()
	if b[0] == '[' {
		t.controlSequence(b[1:])
		return
	}
	switch string(b) {
	case "(0", ")0": // DEC special graphics
		t.drawing[b[0]-'('] = true
	case "7": // DECSC
		t.save()
	case "8": // DECRC
		t.restore()
	case "D": // IND
		t.index()
	case "E": // NEL
		s.x = 0
		t.index()
	case "M": // RI
		t.raised = true
		s.wrapNext = false
		if s.y == s.top {
			t.scroll(s.top, -1)
		} else {
			s.y = max(0, s.y-1)
		}
	case "c": // RIS
		t.collect()
		t.reset(0)
	default:
		if len(b) == 2 && (b[0] == '(' || b[0] == ')') { // another character set
			t.drawing[b[0]-'('] = false
		}
	}
}

// maxParameter limits the parameters of a control sequence. It exceeds the rows and columns of any
// screen.
const maxParameter = 9999

// parameters parses the parameters of a control sequence, at most 16, and returns their number. It
// skips sub-parameters, which only colours have.
func parameters(b []byte) (p [16]int, n int) {
	sub := false
	for _, c := range b {
		switch {
		case c == ';':
			n++
			sub = false
		case c == ':':
			sub = true
		case '0' <= c && c <= '9' && !sub && n < len(p):
			p[n] = min(p[n]*10+int(c-'0'), maxParameter)
		}
	}
	return p, min(n+1, len(p))
}

// divide splits a control sequence, without its ESC [, into its parts.
func divide(b []byte) (private byte, numbers []byte, intermediate, final byte) {
	final = b[len(b)-1]
	numbers = b[:len(b)-1]
	if len(numbers) > 0 && '<' <= numbers[0] && numbers[0] <= '?' {
		private, numbers = numbers[0], numbers[1:]
	}
	if n := len(numbers); n > 0 && 0x20 <= numbers[n-1] && numbers[n-1] <= 0x2f {
		intermediate = numbers[n-1]
	}
	return private, numbers, intermediate, final
}

// controlSequence executes a control sequence (ECMA-48 and xterm), without its ESC [.
func (t *terminal) controlSequence(b []byte) {
	private, numbers, intermediate, final := divide(b)
	p, count := parameters(numbers)
	switch {
	case intermediate != 0:
		if intermediate == '!' && final == 'p' { // DECSTR
			t.noWrap, t.insert, t.origin, t.shifted, t.hidden, t.drawing = false, false, false, false, false, [2]bool{}
			s := t.active()
			s.top, s.bottom, s.saved, s.savedHidden = 0, t.height-1, point{}, false
		}
		return
	case private == '?' && (final == 'h' || final == 'l'):
		for _, mode := range p[:count] {
			t.privateMode(mode, final == 'h')
		}
		return
	case private == '?' && (final == 'J' || final == 'K'): // selective erase: nothing is protected here
	case private != 0:
		return
	}
	s := t.active()
	n := max(1, p[0])
	switch final {
	case 'm': // SGR
		t.hidden = conceal(numbers, t.hidden)
	case 'A': // CUU
		t.raised = true
		t.moveTo(s.x, max(s.y-n, edge(s.y >= s.top, s.top, 0)))
	case 'B', 'e': // CUD, VPR
		t.moveTo(s.x, min(s.y+n, edge(s.y <= s.bottom, s.bottom, t.height-1)))
	case 'C', 'a': // CUF, HPR
		t.moveTo(s.x+n, s.y)
	case 'D': // CUB
		t.moveTo(s.x-n, s.y)
	case 'E': // CNL
		t.moveTo(0, min(s.y+n, edge(s.y <= s.bottom, s.bottom, t.height-1)))
	case 'F': // CPL
		t.raised = true
		t.moveTo(0, max(s.y-n, edge(s.y >= s.top, s.top, 0)))
	case 'G', '`': // CHA, HPA
		t.moveTo(n-1, s.y)
	case 'H', 'f': // CUP, HVP
		t.position(max(1, p[1])-1, n-1)
	case 'd': // VPA
		t.position(s.x, n-1)
	case 'I': // CHT
		t.tabs(n)
	case 'Z': // CBT
		t.moveTo((s.x+7)/8*8-8*n, s.y)
	case 'J':
		t.eraseDisplay(p[0])
	case 'K':
		t.eraseLine(p[0])
	case 'X': // ECH
		t.erase(s.y, s.x, min(s.x+n, t.width))
	case '@': // ICH
		t.disturb(s.y, t.width-min(n, t.width-s.x), t.width, nil)
		s.rows[s.y].insert(s.x, n, t.width)
		s.wrapNext = false
	case 'P': // DCH
		t.disturb(s.y, s.x, s.x+n, nil)
		s.rows[s.y].remove(s.x, n)
		s.wrapNext = false
	case 'L', 'M': // IL, DL
		if s.top <= s.y && s.y <= s.bottom {
			if final == 'L' {
				n = -n
			}
			t.scroll(s.y, n)
			t.moveTo(0, s.y)
		}
	case 'S': // SU
		t.scroll(s.top, n)
	case 'T': // with more parameters it requests mouse reports
		if count == 1 {
			t.scroll(s.top, -n)
		}
	case 'b': // REP
		if t.last > 0 {
			for range min(n, t.width-s.x) {
				t.put(t.last, widthOf(t.last))
			}
		}
	case 'r': // DECSTBM
		bottom := p[1]
		if bottom == 0 || bottom > t.height {
			bottom = t.height
		}
		if n < bottom {
			s.top, s.bottom = n-1, bottom-1
			t.position(0, 0)
		}
	case 'h', 'l':
		for _, mode := range p[:count] {
			if mode == 4 { // IRM
				t.insert = final == 'h'
			}
		}
	case 's':
		t.save()
	case 'u':
		t.restore()
	}
}

// conceal parses the parameters of SGR and returns whether the following text is invisible; hidden
// is the state before.
func conceal(numbers []byte, hidden bool) bool {
	const mode = -1 // of skip: the next parameter determines how many more the colour has
	n, skip, parts := 0, 0, false
	for i := 0; i <= len(numbers); i++ {
		if i < len(numbers) && numbers[i] != ';' {
			switch c := numbers[i]; {
			case c == ':': // sub-parameters, as those of a colour, do not count as parameters
				parts = true
			case '0' <= c && c <= '9' && !parts:
				n = min(n*10+int(c-'0'), maxParameter)
			}
			continue
		}
		switch {
		case skip == mode && n == 2: // red, green and blue
			skip = 3
		case skip == mode && n == 5: // from a palette
			skip = 1
		case skip == mode:
			skip = 0
		case skip > 0:
			skip--
		case (n == 38 || n == 48 || n == 58) && !parts:
			skip = mode
		case n == 0 || n == 28:
			hidden = false
		case n == 8:
			hidden = true
		}
		n, parts = 0, false
	}
	return hidden
}

// edge returns the row at which a vertically moving cursor stops: the margin of the scrolling
// region if the cursor is inside.
func edge(inside bool, margin, screen int) int {
	if inside {
		return margin
	}
	return screen
}

// moveTo moves the cursor within the screen.
func (t *terminal) moveTo(x, y int) {
	s := t.active()
	s.x, s.y, s.wrapNext = min(max(0, x), t.width-1), min(max(0, y), t.height-1), false
}

// position moves the cursor to a row that, with DECOM set, counts from the top of the scrolling
// region.
func (t *terminal) position(x, y int) {
	t.placed = true
	if s := t.active(); t.origin {
		y = min(y+s.top, s.bottom)
	}
	t.moveTo(x, y)
}

// save stores the cursor and the state of SGR 8; restore brings them back.
func (t *terminal) save() {
	s := t.active()
	s.saved, s.savedHidden = point{s.x, s.y}, t.hidden
}

func (t *terminal) restore() {
	s := t.active()
	t.placed, t.hidden = true, s.savedHidden
	t.moveTo(s.saved.x, s.saved.y)
}

// erase blanks cells of a row.
func (t *terminal) erase(y, x, end int) {
	t.disturb(y, x, end, nil)
	t.active().rows[y].erase(x, end, t.width)
}

func (t *terminal) eraseDisplay(what int) {
	s := t.active()
	switch {
	case what == 2 || what == 0 && s.x == 0 && s.y == 0:
		t.collect() // the user has seen it
		t.collectAbove()
		for i := range s.rows {
			s.rows[i].erase(0, t.width, t.width)
		}
	case what == 0:
		t.erase(s.y, s.x, t.width)
		for y := s.y + 1; y < t.height; y++ {
			t.erase(y, 0, t.width)
		}
	case what == 1:
		t.collectAbove()
		for y := range s.y {
			t.erase(y, 0, t.width)
		}
		t.erase(s.y, 0, s.x+1)
	}
}

func (t *terminal) eraseLine(what int) {
	s := t.active()
	s.wrapNext = false
	switch what {
	case 0:
		t.erase(s.y, s.x, t.width)
	case 1:
		t.erase(s.y, 0, s.x+1)
	case 2:
		t.erase(s.y, 0, t.width)
	}
}

func (t *terminal) privateMode(mode int, set bool) {
	switch mode {
	case 6: // DECOM
		t.origin = set
		t.position(0, 0)
	case 7: // DECAWM
		t.noWrap = !set
		t.active().wrapNext = false
	case 47, 1047, 1049:
		t.switchScreen(set, mode == 1049)
	case 1048:
		if set {
			t.save()
		} else {
			t.restore()
		}
	}
}

// switchScreen shows the alternate screen, blank, or the main one. It first collects the lines that
// the current record has written so far. With withCursor, the main screen keeps its own cursor
// position.
func (t *terminal) switchScreen(alternate, withCursor bool) {
	if alternate == t.alternate {
		return
	}
	t.collect()
	from := t.active()
	t.alternate = alternate
	switch {
	case alternate:
		t.alt.reset(t.height, 0)
		t.mainHidden = t.hidden
	case withCursor:
		t.hidden = t.mainHidden
	}
	to := t.active()
	if alternate || !withCursor {
		to.x, to.y, to.wrapNext = from.x, from.y, false
	}
	if !alternate {
		t.alt = screen{}
	}
}
