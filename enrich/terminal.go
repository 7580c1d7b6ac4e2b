package enrich

import (
	"bytes"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// Bounds of a terminal, so that no session can make its enriching slow or large.
const (
	// maxWidth and maxHeight are how large a terminal is taken to be at most, in cells.
	maxWidth, maxHeight = 1000, 250
	// maxCells is how many cells, of the main and the alternate screen, are remembered from one record
	// to the next.
	maxCells = 32 << 10
	// maxText is how many bytes the text of a record has at most that came from the terminal.
	maxText = MaxLine
	// maxSoFar is how many cells of a line that is cut for its age come again in the text of its next
	// record.
	maxSoFar = 1 << 10
	// maxMarks is how many bytes of combining characters a cell has at most, maxAllMarks all that a
	// terminal shows.
	maxMarks, maxAllMarks = 16, 16 << 10
)

// lineSeparator stands between the lines of a record's text.
const lineSeparator = " ⏎ "

// A terminal is what an interactive session's terminal shows: the text, not its colours. It takes
// the bytes of one record after the other and tells, of each, the lines that it wrote to.
//
// Nothing but the bytes, their records and the terminal's size makes its state, and all that is
// remembered from one record to the next is in appendState.
type terminal struct {
	width, height int
	main, alt     screen  // alt has no rows before the session's first full-screen program
	alternate     bool    // alt is shown
	noWrap        bool    // DECAWM is reset
	insert        bool    // IRM is set
	origin        bool    // DECOM is set
	drawing       [2]bool // G0, G1 is the DEC special graphics set, and not ASCII
	shifted       bool    // G1 is in use, and not G0
	marks         markTable
	hidden        bool // text is written as invisible (SGR 8)
	mainHidden    bool // so it was when the alternate screen was entered

	// fresh means that the main screen is shown, with the cursor at the left of its last row, which
	// is blank, and that no mode is set: as at the start, or after a newline that scrolled the
	// screen. A newline that only moved the cursor down may be of an editor that moves within its
	// line, as readline does.
	fresh bool
	// history has the lines that a fresh terminal has not shown yet. recalling means that it shows
	// them.
	history   history
	recalling bool

	// cut means that the line goes on after the record before.
	cut bool

	// Of the record at hand.
	clock    clock
	last     rune   // the last rune written, for REP
	open     bool   // the newline at its end is of a control string
	ending   bool   // its newline ends a line of which there was a record before, and which it tells again
	raised   bool   // the cursor was moved up
	placed   bool   // the cursor was moved to a place, or put back to one
	out      []byte // the lines that it wrote to and that are not on the screen any more
	lastLine int    // where the last line in out begins
	scrolled bool   // its newline was at the bottom of the screen
	line     []byte // of the line at hand: used again and again

	transients []transient // what was erased or overwritten
	omitted    bool        // there was more of that
}

// newTerminal makes a terminal; a width or height of 0 is unknown.
func newTerminal(width, height int) *terminal {
	t := new(terminal)
	t.width, t.height = bounded(width, height)
	t.clock.stop()
	t.reset(t.height - 1)
	t.fresh = true
	return t
}

// isNew says that the terminal is as newTerminal makes it.
func (t *terminal) isNew(width, height int) bool {
	width, height = bounded(width, height)
	return t.isBlank() && t.width == width && t.height == height
}

// isBlank reports whether the terminal is fresh and remembers nothing.
func (t *terminal) isBlank() bool {
	return t.fresh && t.history.lines == 0 && t.main.size() == 0 && t.main.saved == point{} && !t.main.savedHidden
}

func bounded(width, height int) (int, int) {
	if width <= 0 || height <= 0 {
		return 80, 24
	}
	return min(width, maxWidth), min(height, maxHeight)
}

// reset blanks the terminal and sets its modes as they are at the start, with the cursor at the
// left of a row.
func (t *terminal) reset(y int) {
	t.main.reset(t.height, y)
	t.alt = screen{}
	t.alternate, t.noWrap, t.insert, t.origin, t.shifted = false, false, false, false, false
	t.hidden, t.mainHidden = false, false
	t.drawing = [2]bool{}
	t.marks.clear()
}

// forget makes the terminal fresh.
func (t *terminal) forget() {
	t.reset(t.height - 1)
	t.history.log, t.history.lines = t.history.log[:0], 0
	t.out, t.fresh, t.cut, t.recalling = t.out[:0], true, false, false
	t.transients, t.omitted = t.transients[:0], false
	t.clock.stop()
}

// on is the screen that is shown.
func (t *terminal) on() *screen {
	if t.alternate {
		return &t.alt
	}
	return &t.main
}

// effectOf returns what a piece of a line does on the terminal.
func (t *terminal) effectOf(p piece) effect {
	switch {
	case !t.fresh:
		return anywhere
	case p.plain:
		return still
	}
	return effectOf(p.log, p.state)
}

// passesOver reports whether a piece that is still, or on its line, need not be shown now.
func (t *terminal) passesOver(p piece) bool {
	return p.state == ground && (p.cause == full || p.cause == whole && bytes.HasSuffix(p.log, crlf))
}

var crlf = []byte("\r\n")

// show shows a piece of a line and appends its text to dst. ok is false where that failed: nothing
// is appended then, and the terminal is fresh.
func (t *terminal) show(dst []byte, p piece) (text []byte, ok bool) {
	defer func() {
		if recover() != nil { // a mistake here must not end the enriching: the text is scan's then
			t.forget()
			text, ok = dst, false
		}
	}()
	if t.fresh {
		t.recall()
	}
	t.fresh, t.last, t.scrolled, t.raised, t.placed, t.open = false, 0, false, false, false, p.open
	t.ending = p.cause == whole && t.cut && !t.alternate && !p.open
	t.clock.start(p.arrivals)
	t.feed(p.log, p.state)
	t.tell()
	text = t.appendTold(dst)
	t.clock.stop()
	t.settle(p)
	return text, true
}

// feed takes bytes, where state is the parser's before them.
func (t *terminal) feed(b []byte, state parser) {
	start := -1 // of the sequence at hand; one whose start is in another record is passed over
	for i := 0; i < len(b); {
		if i >= t.clock.next {
			t.clock.reach(i)
		}
		c := b[i]
		if state == ground && c >= 0x20 && c != del {
			if c < utf8.RuneSelf {
				n := schema.PrintableLength(b[i:min(len(b), t.clock.next)])
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
				t.put(unmarked(r), widthOf(r))
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
		case c == '\n' && i == len(b) && !t.open: // it ends the line, whatever the state
			t.endLine(i > 1 && b[i-2] == '\r')
		case c < 0x20 && (visible || state == escape || state == escapeMid || state == control):
			t.control(c)
		case next == ground && (state == escape || state == escapeMid || state == control || state == textEsc && c != '\\'):
			if c != can && c != sub && start >= 0 {
				t.sequence(withoutControls(b[start+1 : i]))
			}
		}
		state = next
	}
}

// endLine acts on the newline that ends a record's line. returned says that a carriage return is
// before it, which a string that nothing ended has swallowed.
func (t *terminal) endLine(returned bool) {
	s := t.on()
	if t.ending {
		s.rows[s.y].written = true
	}
	if t.raised && !t.placed && !t.alternate {
		t.joinEdited()
	}
	if returned {
		s.x = 0
	}
	t.scrolled = s.y == t.height-1 && s.bottom == s.y
	t.index()
}

// joinEdited adds the rows between those that the record wrote to, and those down to the cursor's,
// to its text: they are one command in which an editor moved up. An editor does not know its place
// on the screen, so it moves by a number of rows, and not to a place.
func (t *terminal) joinEdited() {
	s := t.on()
	first, last := len(s.rows), s.y
	for y := range s.rows {
		if s.rows[y].written {
			first, last = min(first, y), max(last, y)
		}
	}
	for y := first; y <= last; y++ {
		s.rows[y].written = true
	}
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

// scroll moves the rows from top to the bottom of what scrolls up by n, or down where n is
// negative. Rows that leave the screen are told, if the record at hand wrote to them.
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

// leave tells a row that leaves the screen, if the record at hand wrote to it. At the top it may be
// of a line that goes on.
func (t *terminal) leave(r *row, atTop bool) {
	if t.recalling {
		return
	}
	if !atTop {
		if r.written {
			t.line = r.appendText(t.line[:0], &t.marks)
			t.tellLine(t.line)
		}
		return
	}
	s := t.on()
	if !r.wrapped && !r.written && !s.aboveWritten { // the line's end, and no text has it
		s.above = s.above[:0]
		return
	}
	s.above = r.appendText(s.above, &t.marks)
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

// tell tells the lines of the screen that the record at hand wrote to, which it then has not
// written to.
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
				r.trim()
				t.line = r.appendText(t.line, &t.marks)
				if r.written {
					r.written, r.entered = false, false
					forgetArrivals(r.cells)
				}
			}
			t.tellLine(t.line)
		}
		first = end
	}
	s.aboveWritten = false
}

// tellLine adds a line to the text of the record at hand, unless it is empty or the same as the one
// before it.
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
	t.cut = p.cause != whole || p.open
	plain := !t.alternate && !t.noWrap && !t.insert && !t.origin && !t.shifted && !t.hidden && t.drawing == [2]bool{} &&
		t.main.top == 0 && t.main.bottom == t.height-1
	switch {
	case plain && t.scrolled && t.main.x == 0:
		t.settleFresh()
	case plain && (p.cause == full || p.cause != whole && t.soFar() > maxSoFar):
		t.forget()
	case t.main.size()+t.alt.size()+len(t.main.above)+len(t.alt.above) > maxCells:
		t.forget()
	}
}

// soFar counts the cells of the line that the cursor is in.
func (t *terminal) soFar() int {
	s := &t.main
	first, _ := s.lineAt(s.y)
	n := 0
	if first == 0 {
		n = len(s.above)
	}
	for i := first; i <= s.y; i++ {
		n += len(s.rows[i].cells)
	}
	return n
}
