package enrich

import (
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// widthOf returns the number of columns of a rune. Two regional indicators form a flag of two
// columns.
func widthOf(r rune) int {
	if 0x1f1e6 <= r && r <= 0x1f1ff {
		return 1
	}
	return displaywidth.Rune(r)
}

// put writes a rune of the given width at the cursor.
func (t *terminal) put(r rune, width int) {
	s := t.active()
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
		t.disturb(s.y, t.width-width, t.width, nil)
		row.insert(s.x, width, t.width)
	} else if s.x < len(row.cells) && (row.cells[s.x].rune != r || row.cells[s.x].hidden != t.hidden) {
		t.disturb(s.y, s.x, s.x+width, nil)
	}
	if s.x+width == t.width { // the line no longer continues after a row that was rewritten
		row.wrapped = false
	}
	row.set(s.x, cell{rune: r, at: t.clock.number(), hidden: t.hidden}, width)
	t.last = r
	s.x += width
	if s.x >= t.width {
		s.x, s.wrapNext = t.width-1, !t.noWrap
	}
}

// putPlain writes printable ASCII, as much at once as fits into the row.
func (t *terminal) putPlain(b []byte) {
	for len(b) > 0 {
		s := t.active()
		n := min(len(b), t.width-s.x)
		if s.wrapNext || t.insert || t.hidden || t.drawingNow() || n <= 1 {
			t.put(rune(b[0]), 1)
			b = b[1:]
			continue
		}
		row := &s.rows[s.y]
		if s.x < len(row.cells) {
			t.disturb(s.y, s.x, s.x+n, b[:n])
		}
		row.setPlain(s.x, b[:n], t.clock.number())
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

// mark adds a combining character to the rune before the cursor.
func (t *terminal) mark(r rune) {
	s := t.active()
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
	if cells[x].rune <= 0 || len(t.marks.of(&cells[x]))+n > maxMarks || t.marks.bytes+n > maxAllMarks {
		return
	}
	t.marks.add(&cells[x], string(r))
	s.rows[s.y].written = true
}
