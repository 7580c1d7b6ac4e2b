package enrich

import (
	"bytes"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
	"github.com/ttydrain/ttydrain/schema"
)

// Bounds of a terminal, so that no session can make its enriching slow or large.
const (
	// maxWidth and maxHeight are how large a terminal is taken to be at most, in cells.
	maxWidth, maxHeight = 1000, 250
	// maxCells is how many cells, of the main and the alternate screen, are remembered from one record to the next.
	maxCells = 32 << 10
	// maxText is how many bytes the text of a record has at most that came from the terminal.
	maxText = MaxLine
	// maxSoFar is how many cells of a line that is cut for its age come again in the text of its next record.
	maxSoFar = 1 << 10
	// maxMarks is how many bytes of combining characters a cell has at most, maxAllMarks all that a terminal shows.
	maxMarks, maxAllMarks = 16, 16 << 10
)

// lineSeparator stands between the lines of a record's text.
const lineSeparator = " ⏎ "

// A terminal is what an interactive session's terminal shows: the text, not its colours. It takes the bytes of one record
// after the other and tells, of each, the lines that it wrote to.
//
// Nothing but the bytes, their records and the terminal's size makes its state, and all that is remembered from one record to the
// next is in appendState.
type terminal struct {
	width, height int
	main, alt     screen  // alt has no rows before the session's first full-screen program
	alternate     bool    // alt is shown
	noWrap        bool    // DECAWM is reset
	insert        bool    // IRM is set
	origin        bool    // DECOM is set
	drawing       [2]bool // G0, G1 is the DEC special graphics set, and not ASCII
	shifted       bool    // G1 is in use, and not G0
	marks         int     // bytes of combining characters that were written since the last reset

	// fresh says that the main screen is shown, blank, with the cursor at the left of the last row, and that no mode is set: as at
	// the start, or after a newline that scrolled the screen. What is above is forgotten. A newline that only moved the cursor down may be
	// of an editor that moves within its line, as readline does.
	fresh bool

	// cut says that the record before is partial.
	cut bool

	// Of the record at hand.
	last     rune   // the last rune written, for REP
	ending   bool   // its newline ends a line of which there was a record before, and which it tells again
	out      []byte // the lines that it wrote to and that are not on the screen any more
	lastLine int    // where the last line in out begins
	scrolled bool   // its newline was at the bottom of the screen
	line     []byte // of the line at hand: used again and again
}

// newTerminal makes a terminal; a width or height of 0 is unknown.
func newTerminal(width, height int) *terminal {
	t := new(terminal)
	t.width, t.height = bounded(width, height)
	t.reset(t.height - 1)
	t.fresh = true
	return t
}

// isNew says that the terminal is as newTerminal makes it.
func (t *terminal) isNew(width, height int) bool {
	width, height = bounded(width, height)
	return t.fresh && t.width == width && t.height == height
}

func bounded(width, height int) (int, int) {
	if width <= 0 || height <= 0 {
		return 80, 24
	}
	return min(width, maxWidth), min(height, maxHeight)
}

// reset blanks the terminal and sets its modes as they are at the start, with the cursor at the left of a row.
func (t *terminal) reset(y int) {
	t.main.reset(t.height, y)
	t.alt = screen{}
	t.alternate, t.noWrap, t.insert, t.origin, t.shifted = false, false, false, false, false
	t.drawing = [2]bool{}
	t.marks = 0
}

// forget makes the terminal fresh.
func (t *terminal) forget() {
	t.reset(t.height - 1)
	t.out, t.fresh, t.cut = t.out[:0], true, false
}

// on is the screen that is shown.
func (t *terminal) on() *screen {
	if t.alternate {
		return &t.alt
	}
	return &t.main
}

// isStill says that a piece of a line does nothing on the terminal but show what scan reads of it, at the cursor. plain says that it is plain.
func (t *terminal) isStill(p piece, plain bool) bool {
	return t.fresh && (plain || isStill(p.log, p.state))
}

// passesOver says that nothing of a still piece has to be remembered: it need not be shown.
func (t *terminal) passesOver(p piece) bool {
	return p.cause == full || p.cause == whole && bytes.HasSuffix(p.log, crlf)
}

var crlf = []byte("\r\n")

// show shows a piece of a line and appends its text to dst. ok is false where that failed: nothing is appended then, and the terminal is fresh.
func (t *terminal) show(dst []byte, p piece) (text []byte, ok bool) {
	defer func() {
		if recover() != nil { // a mistake here must not end the enriching: the text is scan's then
			t.forget()
			text, ok = dst, false
		}
	}()
	t.fresh, t.last, t.scrolled = false, 0, false
	t.ending = p.cause == whole && t.cut && !t.alternate
	t.feed(p.log, p.state)
	t.tell()
	text = append(dst, t.out...)
	t.settle(p)
	return text, true
}

// feed takes bytes, where state is the parser's before them.
func (t *terminal) feed(b []byte, state parser) {
	start := -1 // of the sequence at hand; one whose start is in another record is passed over
	for i := 0; i < len(b); {
		c := b[i]
		if state == ground && c >= 0x20 && c != del {
			if c < utf8.RuneSelf {
				n := schema.PrintableLength(b[i:])
				t.putPlain(b[i : i+n])
				i += n
				continue
			}
			r, size := utf8.DecodeRune(b[i:])
			i += size
			switch {
			case 0x80 <= r && r < 0xa0: // C1 controls
			case r == '\u2028' || r == '\u2029':
				t.put(' ', 1)
			default:
				t.put(r, displaywidth.Rune(r))
			}
			continue
		}
		next, visible := state.next(c)
		start = state.began(next, c, i, start)
		if visible && c >= utf8.RuneSelf { // it ended a sequence, and is shown
			state = next
			continue
		}
		i++
		switch {
		case c == '\n' && i == len(b): // it ends the line, whatever the state
			t.endLine(i > 1 && b[i-2] == '\r')
		case c < 0x20 && (visible || state == escape || state == escapeMid || state == control):
			t.control(c)
		case next == ground && (state == escape || state == escapeMid || state == control || state == textEsc && c != '\\'):
			if c != can && c != sub && start >= 0 {
				t.sequence(b[start+1 : i])
			}
		}
		state = next
	}
}

// endLine acts on the newline that ends a record's line. returned says that a carriage return is before it, which a string that nothing
// ended has swallowed.
func (t *terminal) endLine(returned bool) {
	s := t.on()
	if t.ending {
		s.rows[s.y].written = true
	}
	if returned {
		s.x = 0
	}
	t.scrolled = s.y == t.height-1 && s.bottom == s.y
	t.index()
}

// put writes a rune of a width at the cursor.
func (t *terminal) put(r rune, width int) {
	s := t.on()
	if width <= 0 {
		t.mark(r)
		return
	}
	width = min(width, t.width)
	if t.drawingNow() && '_' <= r && r <= '~' {
		r = drawings[r-'_']
	}
	if s.wrapNext || s.x+width > t.width {
		if t.noWrap {
			s.x = t.width - width
		} else {
			s.rows[s.y].wrapped = true
			s.x = 0
			t.index()
		}
		s.wrapNext = false
	}
	row := &s.rows[s.y]
	if t.insert {
		row.insert(s.x, width, t.width)
	}
	if s.x+width == t.width { // whatever was wrapped from here is not any more
		row.wrapped = false
	}
	row.set(s.x, cell{rune: r}, width)
	t.last = r
	s.x += width
	if s.x >= t.width {
		s.x, s.wrapNext = t.width-1, !t.noWrap
	}
}

// putPlain puts printable ASCII, as much at once as goes into the row.
func (t *terminal) putPlain(b []byte) {
	for len(b) > 0 {
		s := t.on()
		n := min(len(b), t.width-s.x)
		if s.wrapNext || t.insert || t.drawingNow() || n <= 1 {
			t.put(rune(b[0]), 1)
			b = b[1:]
			continue
		}
		row := &s.rows[s.y]
		row.setPlain(s.x, b[:n])
		t.last = rune(b[n-1])
		if s.x += n; s.x == t.width {
			row.wrapped = false // as in put
			s.x, s.wrapNext = t.width-1, !t.noWrap
		}
		b = b[n:]
	}
}

func (t *terminal) drawingNow() bool {
	if t.shifted {
		return t.drawing[1]
	}
	return t.drawing[0]
}

// drawings are the runes of the DEC special graphics set, from _ on.
var drawings = []rune(" ◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

// mark puts a combining character on the rune before the cursor.
func (t *terminal) mark(r rune) {
	s := t.on()
	x := s.x
	if !s.wrapNext {
		x--
	}
	cells := s.rows[s.y].cells
	if x < 0 || x >= len(cells) {
		return
	}
	if cells[x].rune == wideTail {
		x--
	}
	n := utf8.RuneLen(r)
	if cells[x].rune <= 0 || len(cells[x].marks)+n > maxMarks || t.marks+n > maxAllMarks {
		return
	}
	t.marks += n
	cells[x].marks += string(r)
	s.rows[s.y].written = true
}

// index moves the cursor down, and scrolls at the bottom.
func (t *terminal) index() {
	s := t.on()
	s.wrapNext = false
	switch {
	case s.y == s.bottom:
		t.scroll(s.top, 1)
	case s.y < t.height-1:
		s.y++
	}
}

// scroll moves the rows from top to the bottom of what scrolls up by n, or down where n is negative. Rows that leave the screen are told,
// if the record at hand wrote to them.
func (t *terminal) scroll(top, n int) {
	s := t.on()
	height := s.bottom - top + 1
	for i := range min(n, height) {
		t.leave(&s.rows[top+i], top == 0)
	}
	if n < 0 {
		if top == 0 {
			t.tellAbove()
		}
		for i := max(0, height+n); i < height; i++ {
			t.leave(&s.rows[top+i], false)
		}
	}
	s.rotate(top, s.bottom, n)
}

// leave tells a row that leaves the screen, if the record at hand wrote to it. At the top it may be of a line that goes on.
func (t *terminal) leave(r *row, atTop bool) {
	if !atTop {
		if r.written {
			t.line = r.appendText(t.line[:0])
			t.tellLine(t.line)
		}
		return
	}
	s := t.on()
	s.above = r.appendText(s.above)
	s.above = s.above[:cutText(s.above, maxText)]
	s.aboveWritten = s.aboveWritten || r.written
	if !r.wrapped {
		t.tellAbove()
	}
}

// tellAbove tells the line that has left the screen, if the record at hand wrote to it.
func (t *terminal) tellAbove() {
	s := t.on()
	if s.aboveWritten {
		t.tellLine(s.above)
	}
	s.above, s.aboveWritten = s.above[:0], false
}

// tell tells the lines of the screen that the record at hand wrote to, which it then has not written to.
func (t *terminal) tell() {
	s := t.on()
	for first := 0; first < len(s.rows); {
		end, written := first, first == 0 && s.aboveWritten
		for {
			r := &s.rows[end]
			written = written || r.written
			end++
			if !r.wrapped || end == len(s.rows) {
				break
			}
		}
		if written {
			t.line = t.line[:0]
			if first == 0 {
				t.line = append(t.line, s.above...)
			}
			for i := first; i < end; i++ {
				r := &s.rows[i]
				r.written = false
				r.trim()
				t.line = r.appendText(t.line)
			}
			t.tellLine(t.line)
		}
		first = end
	}
	s.aboveWritten = false
}

// tellLine adds a line to the text of the record at hand, unless it is empty or the same as the one before it.
func (t *terminal) tellLine(line []byte) {
	line = bytes.Trim(line, " ")
	if len(line) == 0 || len(t.out) > 0 && bytes.Equal(line, t.out[t.lastLine:]) || len(t.out) >= maxText {
		return
	}
	if len(t.out) > 0 {
		t.out = append(t.out, lineSeparator...)
	}
	t.lastLine = len(t.out)
	t.out = append(t.out, line...)
	t.out = t.out[:cutText(t.out, maxText)]
}

// cutText is the greatest length up to limit at which text may be cut.
func cutText(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return limit
}

// settle ends a record: it forgets what needs not be remembered, or is too much to be.
func (t *terminal) settle(p piece) {
	t.out = t.out[:0]
	t.cut = p.cause != whole
	plain := !t.alternate && !t.noWrap && !t.insert && !t.origin && !t.shifted && t.drawing == [2]bool{} &&
		t.main.top == 0 && t.main.bottom == t.height-1
	switch {
	case plain && (p.cause == full || t.scrolled && t.main.x == 0 || p.cause != whole && t.soFar() > maxSoFar):
		t.forget()
	case t.main.size()+t.alt.size()+len(t.main.above)+len(t.alt.above) > maxCells:
		t.forget()
	}
}

// soFar counts the cells of the line that the cursor is in.
func (t *terminal) soFar() int {
	s := &t.main
	first := s.y
	for first > 0 && s.rows[first-1].wrapped {
		first--
	}
	n := 0
	if first == 0 {
		n = len(s.above)
	}
	for i := first; i <= s.y; i++ {
		n += len(s.rows[i].cells)
	}
	return n
}

// resize gives the terminal another size, between two records. The main screen keeps the cursor's distance to its bottom, as terminals do
// that have rows of before to show at the top; the alternate one keeps its top, for its program to draw again.
func (t *terminal) resize(width, height int) {
	width, height = bounded(width, height)
	if t.fresh {
		t.width, t.height = width, height
		t.forget()
		return
	}
	t.width = width
	t.main.resize(width, height, true)
	if t.alt.rows != nil {
		t.alt.resize(width, height, false)
	}
	t.height = height
}

// resize keeps the rows at the bottom, or at the top, of a screen that no record has written to since it was told.
func (s *screen) resize(width, height int, atBottom bool) {
	old := s.rows
	s.rows = make([]row, height)
	drop := max(0, len(old)-height) // rows that have no place
	if atBottom {
		below := min(drop, len(old)-1-s.y) // blank or not: the cursor has to stay
		old = old[:len(old)-below]
		old[len(old)-1].wrapped = old[len(old)-1].wrapped && below == 0
		if drop -= below; drop > 0 {
			if old[drop-1].wrapped {
				for i := range drop {
					s.above = old[i].appendText(s.above)
					if !old[i].wrapped {
						s.above = s.above[:0]
					}
				}
				s.above = s.above[:cutText(s.above, maxText)]
			} else {
				s.above = s.above[:0]
			}
			old = old[drop:]
			s.y -= drop
		}
		down := height - len(old)
		copy(s.rows[down:], old)
		s.y += down
	} else {
		copy(s.rows, old)
		s.y = min(s.y, height-1)
	}
	for i := range s.rows {
		if r := &s.rows[i]; len(r.cells) > width {
			r.erase(width, len(r.cells), len(r.cells))
			r.written = false
		}
	}
	s.x, s.wrapNext = min(s.x, width-1), false
	s.saved = point{min(s.saved.x, width-1), min(s.saved.y, height-1)}
	s.top, s.bottom = 0, height-1
}
