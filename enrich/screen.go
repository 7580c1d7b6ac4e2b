package enrich

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// A cell is one place of a screen: a rune, or one of blank, wideTail and tabFill. It has no
// pointers: there are many.
type cell struct {
	rune   rune
	at     uint16 // the number of the arrival that wrote it; 0 where it is in a text already
	marks  uint16 // the combining characters on it, in the terminal's markTable; 0 for none
	hidden bool   // it was written as invisible
}

// isContent reports whether a person sees something in the cell.
func (c *cell) isContent() bool { return c.rune != blank && c.rune != ' ' && c.rune != tabFill }

// isPlain reports whether a visible b, which is ASCII, leaves the cell as it is.
func (c *cell) isPlain(b byte) bool { return c.rune == rune(b) && c.marks == 0 && !c.hidden }

// A markTable has the combining characters of a terminal's cells, each entry those of one.
type markTable struct {
	list  []string // at most maxMarks bytes each
	bytes int      // that were added
}

// of returns the combining characters of a cell.
func (m *markTable) of(c *cell) string {
	if c.marks == 0 {
		return ""
	}
	return m.list[c.marks-1]
}

// add adds combining characters to those of a cell.
func (m *markTable) add(c *cell, marks string) {
	m.bytes += len(marks)
	if c.marks > 0 {
		m.list[c.marks-1] += marks
		return
	}
	m.list = append(m.list, marks)
	c.marks = uint16(len(m.list))
}

// clear forgets all of them; no cell may have any.
func (m *markTable) clear() {
	clear(m.list)
	m.list, m.bytes = m.list[:0], 0
}

const (
	blank    rune = 0  // never written, or erased
	wideTail rune = -1 // the second half of the wide rune before it
	tabFill  rune = -2 // passed over by a tab, which is one space in a text: the first cell of it is ' '
)

// A row is one row of a screen. The cells behind those that it has are blank.
type row struct {
	cells   []cell
	wrapped bool // its line goes on in the next row
	written bool // the record at hand wrote to it
	entered bool // what it wrote last was ended by a carriage return: by Enter, in a full-screen program
}

// A screen is what a terminal shows: the main one, or the alternate one of full-screen programs. It
// owns its rows.
type screen struct {
	rows        []row // from top to bottom, as many as the terminal is high
	x, y        int   // of the cursor
	wrapNext    bool  // the last column is written, and the next rune goes to the next row
	saved       point // of the cursor
	savedHidden bool  // terminal.hidden, saved with it
	top, bottom int   // first and last row of what scrolls

	// above is the text of the line that goes on in the first row, as far as it has left the screen:
	// at most maxText bytes. aboveWritten says that the record at hand wrote to it.
	above        []byte
	aboveWritten bool
}

type point struct{ x, y int }

// reset makes the screen blank, of a height, with the cursor at the left of a row. It keeps the
// storage of one row, so that an operation whose terminal is not in use takes little.
func (s *screen) reset(height, y int) {
	spare := []cell(nil)
	for i := range s.rows {
		if cap(s.rows[i].cells) > 0 {
			spare = s.rows[i].cells[:0]
		}
	}
	if cap(s.rows) < height {
		s.rows = make([]row, height)
	}
	rows := s.rows[:height]
	clear(rows)
	rows[y].cells = spare
	*s = screen{rows: rows, y: y, bottom: height - 1, above: s.above[:0]}
}

// set writes a cell, and what belongs to it behind it: the second half of a wide rune.
func (r *row) set(x int, c cell, width int) {
	r.split(x)
	r.split(x + width)
	for len(r.cells) < x+width {
		r.cells = append(r.cells, cell{})
	}
	if old := &r.cells[x]; old.rune == c.rune && old.marks == 0 && old.hidden == c.hidden {
		c.at = old.at // it stands there since then
	}
	r.cells[x] = c
	if width == 2 {
		r.cells[x+1] = cell{rune: wideTail, at: c.at, hidden: c.hidden}
	}
	r.written = true
}

// setPlain writes a cell for each byte, which are ASCII. at is the number of their arrival.
func (r *row) setPlain(x int, b []byte, at uint16) {
	end := x + len(b)
	r.split(x)
	r.split(end)
	old := len(r.cells)
	if old < end {
		r.cells = slices.Grow(r.cells, end-old)[:end]
		if old < x {
			clear(r.cells[old:x])
		}
	}
	for ; x < old && len(b) > 0; x, b = x+1, b[1:] { // what is the same stands there since it was written
		if c := &r.cells[x]; !c.isPlain(b[0]) {
			*c = cell{rune: rune(b[0]), at: at}
		}
	}
	for i, c := range b {
		r.cells[x+i] = cell{rune: rune(c), at: at}
	}
	r.written = true
}

// split blanks a wide rune that has a half on each side of x.
func (r *row) split(x int) {
	if 0 < x && x < len(r.cells) && r.cells[x].rune == wideTail {
		r.cells[x-1], r.cells[x] = cell{}, cell{}
	}
}

// erase blanks the cells from x up to end. A row that is erased to its end is not wrapped.
func (r *row) erase(x, end, width int) {
	if end >= width {
		r.wrapped = false
	}
	if x >= len(r.cells) {
		return
	}
	r.split(x)
	r.split(end)
	r.written = true
	if end >= len(r.cells) {
		r.cells = r.cells[:min(x, len(r.cells))]
		return
	}
	clear(r.cells[x:end])
}

// insert moves the cells from x on to the right by n. Those that leave the row, which is width
// wide, are gone.
func (r *row) insert(x, n, width int) {
	r.split(x)
	if x >= len(r.cells) {
		return
	}
	n = min(n, width-x)
	r.cells = slices.Insert(r.cells, x, make([]cell, n)...)
	r.split(width)
	r.cells = r.cells[:min(len(r.cells), width)]
	r.written = true
}

// remove takes n cells out at x.
func (r *row) remove(x, n int) {
	r.split(x)
	r.split(x + n)
	if x < len(r.cells) {
		r.cells = slices.Delete(r.cells, x, min(x+n, len(r.cells)))
		r.written = true
	}
}

// tab passes over the cells from x up to end.
func (r *row) tab(x, end int) {
	if len(r.cells) > x { // over what is there already
		return
	}
	for len(r.cells) < x {
		r.cells = append(r.cells, cell{})
	}
	r.cells = append(r.cells, cell{rune: ' '})
	for len(r.cells) < end {
		r.cells = append(r.cells, cell{rune: tabFill})
	}
}

// trim drops the blank cells at the end.
func (r *row) trim() {
	n := len(r.cells)
	for n > 0 && r.cells[n-1].rune == blank {
		n--
	}
	r.cells = r.cells[:n]
}

// appendText appends what a person reads in the row. dst ends with the row before, if its line goes
// on in this one.
func (r *row) appendText(dst []byte, m *markTable) []byte { return m.appendCells(dst, r.cells) }

func (m *markTable) appendCells(dst []byte, cells []cell) []byte {
	marked := false
	for i := range cells {
		c := &cells[i]
		if c.hidden != marked && (marked || c.isContent()) {
			dst, marked = toggleMark(dst, c.hidden, i == 0), c.hidden
		}
		switch {
		case 0 < c.rune && c.rune < utf8.RuneSelf:
			dst = append(dst, byte(c.rune))
		case c.rune == blank:
			dst = append(dst, ' ')
		case c.rune > 0:
			dst = utf8.AppendRune(dst, c.rune)
		}
		if c.marks > 0 {
			dst = append(dst, m.of(c)...)
		}
	}
	if marked {
		dst = append(dst, endOfMark...)
	}
	return dst
}

// toggleMark begins or ends the mark of invisible text. A mark that ended with the row before goes
// on.
func toggleMark(dst []byte, hidden, atStart bool) []byte {
	switch {
	case !hidden:
		return append(dst, endOfMark...)
	case atStart && bytes.HasSuffix(dst, []byte(endOfMark)):
		return dst[:len(dst)-len(endOfMark)]
	}
	return append(dst, invisibleMark...)
}

// lineAt returns the rows of the line that a row is of.
func (s *screen) lineAt(y int) (first, last int) {
	first, last = y, y
	for first > 0 && s.rows[first-1].wrapped {
		first--
	}
	for last < len(s.rows)-1 && s.rows[last].wrapped {
		last++
	}
	return first, last
}

// rotate moves the rows from top to bottom up by n, or down where n is negative. The rows that come
// in are blank, with the storage of those that go out.
func (s *screen) rotate(top, bottom, n int) {
	rows := s.rows[top : bottom+1]
	if n == 1 { // a newline at the bottom
		out := rows[0].cells[:0]
		copy(rows, rows[1:])
		rows[len(rows)-1] = row{cells: out}
		if top > 0 {
			s.rows[top-1].wrapped = false
		}
		return
	}
	by := min(max(n, -n), len(rows))
	if n < 0 {
		slices.Reverse(rows)
	}
	out := rows[:by]
	for i := range out {
		out[i] = row{cells: out[i].cells[:0]}
	}
	slices.Reverse(out)
	slices.Reverse(rows[by:])
	slices.Reverse(rows)
	if n < 0 {
		slices.Reverse(rows)
	}
	// A line does not go on over the edge of what moved.
	if top > 0 {
		s.rows[top-1].wrapped = false
	}
	s.rows[bottom].wrapped = false
}

// size counts the cells, as far as any are written.
func (s *screen) size() (n int) {
	for i := range s.rows {
		n += len(s.rows[i].cells)
	}
	return n
}
