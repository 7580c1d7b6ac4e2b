package enrich

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// cell is one position of a screen: a rune, or one of blank, wideTail and tabFill. It has no
// pointers, because there are many cells.
type cell struct {
	rune   rune
	at     uint16 // the number of the arrival that wrote it; 0 if a text has it already
	marks  uint16 // index+1 of its combining characters in the terminal's markTable; 0 for none
	hidden bool   // written as invisible
}

// isContent reports whether the cell is visibly not empty.
func (c *cell) isContent() bool { return c.rune != blank && c.rune != ' ' && c.rune != tabFill }

// isPlain reports whether writing a visible ASCII character b would not change the cell.
func (c *cell) isPlain(b byte) bool { return c.rune == rune(b) && c.marks == 0 && !c.hidden }

// markTable holds the combining characters of a terminal's cells, one entry for each cell that has
// any.
type markTable struct {
	list  []string // at most maxMarks bytes each
	bytes int      // total added
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

// clear removes all entries; no cell may refer to any.
func (m *markTable) clear() {
	clear(m.list)
	m.list, m.bytes = m.list[:0], 0
}

const (
	blank    rune = 0  // never written, or erased
	wideTail rune = -1 // the second half of the wide rune before it
	tabFill  rune = -2 // skipped by a tab, which is one space in a text: its first cell is ' '
)

// row is one row of a screen. Cells beyond the end of the slice are blank.
type row struct {
	cells   []cell
	wrapped bool // its line continues in the next row
	written bool // the current record wrote to it
	entered bool // a carriage return followed its last text: the user pressed Enter in a full-screen program
}

// screen is the content of the main screen or of the alternate one, which full-screen programs use.
// It owns its rows.
type screen struct {
	rows        []row // from top to bottom, one for each row of the terminal
	x, y        int   // of the cursor
	wrapNext    bool  // the last column is written, and the next rune goes to the next row
	saved       point // of the cursor
	savedHidden bool  // terminal.hidden, saved with the cursor
	top, bottom int   // first and last row of the scrolling region

	// above is the text of the line that continues in the first row, as far as it has scrolled off
	// the screen: at most maxText bytes. aboveWritten reports that the current record wrote to it.
	above        []byte
	aboveWritten bool
}

type point struct{ x, y int }

// reset clears the screen, sets its height, and puts the cursor at the left of row y. It keeps the
// memory of one row, so that an operation whose terminal is idle takes little.
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

// set writes a cell and, for a wide rune, its second half.
func (r *row) set(x int, c cell, width int) {
	r.split(x)
	r.split(x + width)
	for len(r.cells) < x+width {
		r.cells = append(r.cells, cell{})
	}
	if old := &r.cells[x]; old.rune == c.rune && old.marks == 0 && old.hidden == c.hidden {
		c.at = old.at // unchanged since then
	}
	r.cells[x] = c
	if width == 2 {
		r.cells[x+1] = cell{rune: wideTail, at: c.at, hidden: c.hidden}
	}
	r.written = true
}

// setPlain writes one cell for each byte of b, which is ASCII. at is the number of their arrival.
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
	for ; x < old && len(b) > 0; x, b = x+1, b[1:] { // an unchanged cell keeps its arrival
		if c := &r.cells[x]; !c.isPlain(b[0]) {
			*c = cell{rune: rune(b[0]), at: at}
		}
	}
	for i, c := range b {
		r.cells[x+i] = cell{rune: rune(c), at: at}
	}
	r.written = true
}

// split blanks a wide rune that extends over x.
func (r *row) split(x int) {
	if 0 < x && x < len(r.cells) && r.cells[x].rune == wideTail {
		r.cells[x-1], r.cells[x] = cell{}, cell{}
	}
}

// erase blanks the cells from x up to end. A row that is erased to its end is no longer wrapped.
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

// insert moves the cells from x on to the right by n. Cells that leave the row, which is width
// wide, are lost.
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

// remove removes n cells at x.
func (r *row) remove(x, n int) {
	r.split(x)
	r.split(x + n)
	if x < len(r.cells) {
		r.cells = slices.Delete(r.cells, x, min(x+n, len(r.cells)))
		r.written = true
	}
}

// tab skips the cells from x up to end.
func (r *row) tab(x, end int) {
	if len(r.cells) > x { // over existing cells
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

// appendText appends the readable text of the row. dst must end with the previous row if its line
// continues in this one.
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

// toggleMark starts or ends the mark of invisible text. A mark that ended with the previous row is
// continued.
func toggleMark(dst []byte, hidden, atStart bool) []byte {
	switch {
	case !hidden:
		return append(dst, endOfMark...)
	case atStart && bytes.HasSuffix(dst, []byte(endOfMark)):
		return dst[:len(dst)-len(endOfMark)]
	}
	return append(dst, invisibleMark...)
}

// lineAt returns the first and last row of the line that contains row y.
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

// rotate moves the rows from top to bottom up by n, or down if n is negative. The rows that appear
// are blank and reuse the memory of those that disappear.
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
	// A line does not continue over the edge of the moved region.
	if top > 0 {
		s.rows[top-1].wrapped = false
	}
	s.rows[bottom].wrapped = false
}

// size returns the number of cells in use.
func (s *screen) size() (n int) {
	for i := range s.rows {
		n += len(s.rows[i].cells)
	}
	return n
}
