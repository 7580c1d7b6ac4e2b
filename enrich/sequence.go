package enrich

// control acts on a control character.
func (t *terminal) control(c byte) {
	s := t.on()
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

// tabs moves the cursor to the nth tab stop from here, of which there is one at every eighth
// column.
func (t *terminal) tabs(n int) {
	s := t.on()
	x := min((s.x/8+n)*8, t.width-1)
	if x > s.x {
		s.rows[s.y].tab(s.x, x)
		s.x = x
	}
}

// withoutControls is an escape sequence without the control characters at its start, which act by
// themselves.
func withoutControls(b []byte) []byte {
	for len(b) > 1 && b[0] < 0x20 {
		b = b[1:]
	}
	return b
}

// sequence acts on an escape sequence, without its ESC. What it does not know does nothing.
func (t *terminal) sequence(b []byte) {
	s := t.on()
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
		t.tell()
		t.reset(0)
	default:
		if len(b) == 2 && (b[0] == '(' || b[0] == ')') { // another character set
			t.drawing[b[0]-'('] = false
		}
	}
}

// maxParameter bounds the parameters of a control sequence. It is more than a screen has rows or
// columns.
const maxParameter = 9999

// parameters reads those of a control sequence, of which the first 16 count, and says how many
// there are. Sub-parameters, which only colours have, are passed over.
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

// divide takes a control sequence, without its ESC [, apart.
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

// controlSequence acts on a control sequence (ECMA-48, and xterm's), without its ESC [.
func (t *terminal) controlSequence(b []byte) {
	private, numbers, intermediate, final := divide(b)
	p, count := parameters(numbers)
	switch {
	case intermediate != 0:
		if intermediate == '!' && final == 'p' { // DECSTR
			t.noWrap, t.insert, t.origin, t.shifted, t.hidden, t.drawing = false, false, false, false, false, [2]bool{}
			s := t.on()
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
	s := t.on()
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
	case 'T': // SD; with more parameters it asks for mouse reports
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

// conceal reads the parameters of SGR and returns whether what follows is invisible, where hidden
// says so of what came before.
func conceal(numbers []byte, hidden bool) bool {
	const mode = -1 // of skip: the next parameter says how many more the colour has
	n, skip, parts := 0, 0, false
	for i := 0; i <= len(numbers); i++ {
		if i < len(numbers) && numbers[i] != ';' {
			switch c := numbers[i]; {
			case c == ':': // the parts of a parameter, as those of a colour, are no parameters
				parts = true
			case '0' <= c && c <= '9' && !parts:
				n = min(n*10+int(c-'0'), maxParameter)
			}
			continue
		}
		switch {
		case skip == mode && n == 2: // red, green and blue
			skip = 3
		case skip == mode && n == 5: // of a palette
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

// edge is the row at which a cursor that moves up or down stops: that of what scrolls for one that is inside.
func edge(inside bool, margin, screen int) int {
	if inside {
		return margin
	}
	return screen
}

// moveTo moves the cursor, within the screen.
func (t *terminal) moveTo(x, y int) {
	s := t.on()
	s.x, s.y, s.wrapNext = min(max(0, x), t.width-1), min(max(0, y), t.height-1), false
}

// position moves the cursor to a row that counts from the top of what scrolls, where DECOM says so.
func (t *terminal) position(x, y int) {
	t.placed = true
	if s := t.on(); t.origin {
		y = min(y+s.top, s.bottom)
	}
	t.moveTo(x, y)
}

// save keeps the cursor and the state of SGR 8, and restore brings them back.
func (t *terminal) save() {
	s := t.on()
	s.saved, s.savedHidden = point{s.x, s.y}, t.hidden
}

func (t *terminal) restore() {
	s := t.on()
	t.placed, t.hidden = true, s.savedHidden
	t.moveTo(s.saved.x, s.saved.y)
}

// erase blanks cells of a row.
func (t *terminal) erase(y, x, end int) {
	t.disturb(y, x, end, nil)
	t.on().rows[y].erase(x, end, t.width)
}

func (t *terminal) eraseDisplay(what int) {
	s := t.on()
	switch {
	case what == 2 || what == 0 && s.x == 0 && s.y == 0:
		t.tell() // a person has seen it
		t.tellAbove()
		for i := range s.rows {
			s.rows[i].erase(0, t.width, t.width)
		}
	case what == 0:
		t.erase(s.y, s.x, t.width)
		for y := s.y + 1; y < t.height; y++ {
			t.erase(y, 0, t.width)
		}
	case what == 1:
		t.tellAbove()
		for y := range s.y {
			t.erase(y, 0, t.width)
		}
		t.erase(s.y, 0, s.x+1)
	}
}

func (t *terminal) eraseLine(what int) {
	s := t.on()
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
		t.on().wrapNext = false
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

// switchScreen shows the alternate screen, blank, or the main one. What the record at hand has written so far is told first.
// With its cursor the main screen keeps where its own is.
func (t *terminal) switchScreen(alternate, withCursor bool) {
	if alternate == t.alternate {
		return
	}
	t.tell()
	from := t.on()
	t.alternate = alternate
	switch {
	case alternate:
		t.alt.reset(t.height, 0)
		t.mainHidden = t.hidden
	case withCursor:
		t.hidden = t.mainHidden
	}
	to := t.on()
	if alternate || !withCursor {
		to.x, to.y, to.wrapNext = from.x, from.y, false
	}
	if !alternate {
		t.alt = screen{}
	}
}
