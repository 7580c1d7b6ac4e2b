package enrich

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// stateVersion is the first byte of a terminal's state. A state of version 1 has only the size of a
// fresh terminal, and no information on invisible text. A state of a later version is ignored: the
// terminal is then fresh.
const stateVersion = 2

// Flags of a state, in the order in which appendState writes them.
const (
	stateFresh = 1 << iota
	stateCut
	stateAlternate
	stateNoWrap
	stateInsert
	stateOrigin
	stateDrawing0
	stateDrawing1
	stateShifted
	stateHidden
	stateMainHidden
)

// appendState appends the state that the terminal keeps after a record:
//
//	version 2 | uvarint width, height | uvarint flags | and, unless it is blank:
//	uvarint length, history; not in version 1 | uvarint bytes of marks |
//	the main screen | the alternate one, if it is shown
//
// A screen is
//
//	uvarint x, y, wrapNext, saved x, saved y, [saved hidden; not in version 1] top, bottom |
//	uvarint length, above |
//	for each row: uvarint number of cells*2 + wrapped, cells
//
// and a cell is its rune in UTF-8, where 0, 1 and 2 represent blank, wideTail and tabFill. It is
// preceded by 4 if the cell is invisible, and by 3, the length of the rune's marks as a uvarint,
// and the marks, if it has any.
func (t *terminal) appendState(dst []byte) []byte {
	if t.trimHistory(); len(t.history.log) > maxStateHistory {
		t.recall()
	}
	dst = append(dst, stateVersion)
	dst = binary.AppendUvarint(dst, uint64(t.width))
	dst = binary.AppendUvarint(dst, uint64(t.height))
	flags := uint64(0)
	for i, set := range [...]bool{t.fresh, t.cut, t.alternate, t.noWrap, t.insert, t.origin, t.drawing[0], t.drawing[1], t.shifted,
		t.hidden, t.mainHidden} {
		if set {
			flags |= 1 << i
		}
	}
	dst = binary.AppendUvarint(dst, flags)
	if t.isBlank() {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.history.log)))
	dst = append(dst, t.history.log...)
	dst = binary.AppendUvarint(dst, uint64(t.marks.bytes))
	dst = t.main.appendState(dst, &t.marks)
	if t.alternate {
		dst = t.alt.appendState(dst, &t.marks)
	}
	return dst
}

func (s *screen) appendState(dst []byte, m *markTable) []byte {
	for _, n := range []int{s.x, s.y, number(s.wrapNext), s.saved.x, s.saved.y, number(s.savedHidden), s.top, s.bottom, len(s.above)} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	dst = append(dst, s.above...)
	for i := range s.rows {
		r := &s.rows[i]
		dst = binary.AppendUvarint(dst, uint64(len(r.cells)*2+number(r.wrapped)))
		for _, c := range r.cells {
			if c.hidden {
				dst = append(dst, 4)
			}
			if c.rune <= 0 {
				dst = append(dst, byte(-c.rune))
				continue
			}
			if c.marks > 0 {
				marks := m.of(&c)
				dst = append(dst, 3)
				dst = binary.AppendUvarint(dst, uint64(len(marks)))
				dst = append(dst, marks...)
			}
			dst = utf8.AppendRune(dst, c.rune)
		}
	}
	return dst
}

// number returns 1 for true.
func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

// readState decodes a terminal written by appendState, in this version or version 1; ok is false
// for anything else.
func readState(b []byte) (t *terminal, ok bool) {
	r := stateReader{b: b}
	if r.version = r.byte(); r.version < 1 || r.version > stateVersion {
		return nil, false
	}
	t = newTerminal(max(1, r.number(maxWidth)), max(1, r.number(maxHeight)))
	flags := r.number(1<<16 - 1)
	has := func(flag int) bool { return flags&flag != 0 }
	t.fresh, t.cut, t.alternate = has(stateFresh), has(stateCut), has(stateAlternate)
	if t.fresh && len(r.b) == 0 {
		return t, !r.bad && !t.cut && !t.alternate
	}
	t.hidden, t.mainHidden = has(stateHidden), has(stateMainHidden)
	t.noWrap, t.insert, t.origin, t.shifted = has(stateNoWrap), has(stateInsert), has(stateOrigin), has(stateShifted)
	t.drawing = [2]bool{has(stateDrawing0), has(stateDrawing1)}
	if r.version > 1 {
		t.history.log = bytes.Clone(r.take(r.number(maxStateHistory)))
		t.history.lines = bytes.Count(t.history.log, newline)
	}
	marks := r.number(maxAllMarks)
	r.screen(&t.main, &t.marks, t.width)
	if t.alternate {
		t.alt.reset(t.height, 0)
		r.screen(&t.alt, &t.marks, t.width)
	}
	t.marks.bytes = marks // more than the cells have: overwritten marks count, too
	if n := len(t.history.log); n > 0 && (!t.fresh || t.history.lines >= t.height || t.history.log[n-1] != '\n') {
		r.fail()
	}
	if s := &t.main; t.fresh && (t.cut || t.alternate || t.hidden || s.x > 0 || s.y < t.height-1 || s.wrapNext) {
		r.fail()
	}
	return t, !r.bad && len(r.b) == 0
}

// stateReader consumes fields from the front of a state. A field that is missing or out of bounds
// sets bad.
type stateReader struct {
	b       []byte
	version byte
	bad     bool
}

func (r *stateReader) fail() {
	r.b, r.bad = nil, true
}

func (r *stateReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *stateReader) number(limit int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(limit) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *stateReader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// screen reads a screen into s, whose rows are allocated.
func (r *stateReader) screen(s *screen, m *markTable, width int) {
	lastX, lastY := width-1, len(s.rows)-1
	s.x, s.y = r.number(lastX), r.number(lastY)
	s.wrapNext = r.number(1) == 1
	s.saved = point{r.number(lastX), r.number(lastY)}
	if r.version > 1 {
		s.savedHidden = r.number(1) == 1
	}
	s.top, s.bottom = r.number(lastY), r.number(lastY)
	if s.top > s.bottom {
		r.fail()
	}
	s.above = append(s.above[:0], r.take(r.number(maxText))...)
	for i := range s.rows {
		n := r.number(2*width + 1)
		row := &s.rows[i]
		row.wrapped = n&1 == 1
		row.cells = row.cells[:0]
		for range n / 2 {
			row.cells = append(row.cells, r.cell(m))
			if r.bad {
				return
			}
		}
	}
}

func (r *stateReader) cell(m *markTable) (c cell) {
	if len(r.b) > 0 && r.b[0] == 4 {
		c.hidden = r.byte() == 4
	}
	if len(r.b) > 0 && r.b[0] <= 2 {
		c.rune = -rune(r.byte())
		return c
	}
	if len(r.b) > 0 && r.b[0] == 3 {
		r.byte()
		marks := string(r.take(r.number(maxMarks)))
		if !utf8.ValidString(marks) || m.bytes+len(marks) > maxAllMarks {
			r.fail()
		} else if marks != "" {
			m.add(&c, marks)
		}
	}
	var size int
	c.rune, size = utf8.DecodeRune(r.b)
	r.take(max(1, size))
	if c.rune < 0x20 {
		r.fail()
	}
	return c
}
