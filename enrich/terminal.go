package enrich

import (
	"bytes"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// Limits of a terminal, so that no session can slow down the enricher or exhaust its memory.
const (
	// maxWidth and maxHeight are the maximum size of the emulated terminal in cells.
	maxWidth, maxHeight = 1000, 250
	// maxCells is the maximum number of cells of both screens that are kept between two records.
	maxCells = 32 << 10
	// maxText is the maximum size in bytes of a record's text that comes from the terminal.
	maxText = MaxLine
	// maxRepeated is the maximum number of cells of a line cut for its age that the text of the
	// next record repeats.
	maxRepeated = 1 << 10
	// maxMarks is the maximum number of bytes of combining characters in a cell, maxAllMarks in a
	// terminal.
	maxMarks, maxAllMarks = 16, 16 << 10
)

// lineSeparator separates the lines of a record's text.
const lineSeparator = " ⏎ "

// terminal emulates an interactive session's terminal: its text without the colours. It processes
// the bytes of one record after another and returns for each the lines that it wrote to.
//
// Its state depends only on the bytes, their records and the terminal's size. appendState stores
// everything that is kept between two records.
type terminal struct {
	width, height int
	main, alt     screen  // alt has no rows before the session's first full-screen program
	alternate     bool    // alt is shown
	noWrap        bool    // DECAWM is reset
	insert        bool    // IRM is set
	origin        bool    // DECOM is set
	drawing       [2]bool // G0, G1 is the DEC special graphics set instead of ASCII
	shifted       bool    // G1 is in use instead of G0
	marks         markTable
	hidden        bool // text is written as invisible (SGR 8)
	mainHidden    bool // the value of hidden when the alternate screen was entered

	// fresh reports that the main screen is shown, with the cursor at the left of its blank last
	// row, and that no mode is set: as at the start, or after a newline that scrolled the screen. A
	// newline that only moved the cursor down does not count, as it may come from an editor that
	// moves within its line, such as readline.
	fresh bool
	// history holds the lines that a fresh terminal has not rendered yet; recalling is set while it
	// renders them.
	history   history
	recalling bool

	// cut reports that the line continues after the previous record.
	cut bool

	// State of the current record:
	clock    clock
	last     rune   // the last rune written, for REP
	open     bool   // the newline at its end is in a control string
	ending   bool   // its newline ends a line that an earlier record began, and which is repeated as a whole
	raised   bool   // the cursor was moved up
	placed   bool   // the cursor was moved to an absolute position or restored
	out      []byte // lines that it wrote to and that are no longer on the screen
	lastLine int    // the start of the last line in out
	scrolled bool   // its newline was at the bottom of the screen
	line     []byte // buffer for one line

	transients []transient // text that was erased or overwritten
	omitted    bool        // there was more
}

// newTerminal returns a terminal; a width or height of 0 means unknown.
func newTerminal(width, height int) *terminal {
	t := new(terminal)
	t.width, t.height = bounded(width, height)
	t.clock.stop()
	t.reset(t.height - 1)
	t.fresh = true
	return t
}

// isNew reports whether the terminal equals a new one.
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

// reset clears the terminal and resets its modes, with the cursor at the left of row y.
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

// active returns the screen that is shown.
func (t *terminal) active() *screen {
	if t.alternate {
		return &t.alt
	}
	return &t.main
}

// effectOf returns the effect of a piece of a line on the terminal.
func (t *terminal) effectOf(p piece) effect {
	switch {
	case !t.fresh:
		return anywhere
	case p.plain:
		return still
	}
	return effectOf(p.log, p.state)
}

// mayDefer reports whether a piece whose effect is still or onLine need not be rendered now.
func (t *terminal) mayDefer(p piece) bool {
	return p.state == ground && (p.cause == full || p.cause == whole && bytes.HasSuffix(p.log, crlf))
}

var crlf = []byte("\r\n")

// show renders a piece of a line and appends its text to dst. If that fails, ok is false, nothing
// is appended, and the terminal is fresh.
func (t *terminal) show(dst []byte, p piece) (text []byte, ok bool) {
	defer func() {
		if recover() != nil { // a bug here must not stop the enricher: fall back to the text of scan
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
	t.collect()
	text = t.appendCollected(dst)
	t.clock.stop()
	t.settle(p)
	return text, true
}

// feed processes bytes; state is the parser's state before them.
func (t *terminal) feed(b []byte, state parser) {
	start := -1 // of the current sequence; one that started in another record is skipped
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
		if visible && c >= utf8.RuneSelf { // it ended a sequence and is shown
			state = next
			continue
		}
		i++
		switch {
		case c == '\n' && i == len(b) && !t.open: // it ends the line in any state
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

// endLine executes the newline that ends a record's line. returned reports that a carriage return
// precedes it, which an unterminated string has swallowed.
func (t *terminal) endLine(returned bool) {
	s := t.active()
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

// joinEdited adds the rows between those that the record wrote to, and those down to the cursor's
// row, to its text: they are one command in which an editor moved up. An editor does not know its
// position on the screen, so it moves by a number of rows instead of to an absolute position.
func (t *terminal) joinEdited() {
	s := t.active()
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
	s := t.active()
	s.wrapNext = false
	switch {
	case s.y == s.bottom:
		t.scroll(s.top, 1)
	case s.y < t.height-1:
		s.y++
	}
}

// scroll moves the rows from top to the bottom of the scrolling region up by n, or down if n is
// negative. It collects the rows that leave the screen and that the current record wrote to.
func (t *terminal) scroll(top, n int) {
	s := t.active()
	height := s.bottom - top + 1
	for i := range min(n, height) {
		t.leave(&s.rows[top+i], top == 0)
	}
	if n < 0 {
		if top == 0 {
			t.collectAbove()
		}
		for i := max(0, height+n); i < height; i++ {
			t.leave(&s.rows[top+i], false)
		}
	}
	s.rotate(top, s.bottom, n)
}

// leave collects a row that leaves the screen, if the current record wrote to it. At the top the
// row may belong to a line that continues.
func (t *terminal) leave(r *row, atTop bool) {
	if t.recalling {
		return
	}
	if !atTop {
		if r.written {
			t.line = r.appendText(t.line[:0], &t.marks)
			t.collectLine(t.line)
		}
		return
	}
	s := t.active()
	if !r.wrapped && !r.written && !s.aboveWritten { // the end of the line, which no text has
		s.above = s.above[:0]
		return
	}
	s.above = r.appendText(s.above, &t.marks)
	s.above = s.above[:cutText(s.above, maxText)]
	s.aboveWritten = s.aboveWritten || r.written
	if !r.wrapped {
		t.collectAbove()
	}
}

// collectAbove collects the line that has left the screen, if the current record wrote to it.
func (t *terminal) collectAbove() {
	s := t.active()
	if s.aboveWritten {
		t.collectLine(s.above)
	}
	s.above, s.aboveWritten = s.above[:0], false
}

// collect adds the lines of the screen that the current record wrote to to its text, and marks them
// as not written.
func (t *terminal) collect() {
	s := t.active()
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
			t.collectLine(t.line)
		}
		first = end
	}
	s.aboveWritten = false
}

// collectLine adds a line to the text of the current record, unless it is empty or equals the
// previous one.
func (t *terminal) collectLine(line []byte) {
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

// cutText returns the largest length up to limit at which text may be cut.
func cutText(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return limit
}

// settle ends a record. It forgets state that later texts do not need, or that exceeds a limit.
func (t *terminal) settle(p piece) {
	t.out = t.out[:0]
	t.cut = p.cause != whole || p.open
	plain := !t.alternate && !t.noWrap && !t.insert && !t.origin && !t.shifted && !t.hidden && t.drawing == [2]bool{} &&
		t.main.top == 0 && t.main.bottom == t.height-1
	switch {
	case plain && t.scrolled && t.main.x == 0:
		t.settleFresh()
	case plain && (p.cause == full || p.cause != whole && t.lineCells() > maxRepeated):
		t.forget()
	case t.main.size()+t.alt.size()+len(t.main.above)+len(t.alt.above) > maxCells:
		t.forget()
	}
}

// lineCells returns the number of cells of the line that contains the cursor.
func (t *terminal) lineCells() int {
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
