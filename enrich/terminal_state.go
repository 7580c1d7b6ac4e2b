package enrich

import (
	"encoding/binary"
	"unicode/utf8"
)

// stateVersion is the first byte of a terminal's state. A state of another version is not read: the terminal is fresh then.
const stateVersion = 1

// Flags of a state, in the order in which appendState has them.
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
)

// appendState appends what the terminal remembers after a record:
//
//	version 1 | uvarint width, height | uvarint flags | and, unless it is fresh:
//	uvarint bytes of marks | the main screen | the alternate one, where it is shown
//
// A screen is
//
//	uvarint x, y, wrapNext, saved x, saved y, top, bottom | uvarint length, above |
//	for each row: uvarint number of cells*2 + wrapped, cells
//
// and a cell its rune in UTF-8, where 0, 1 and 2 stand for blank, wideTail and tabFill; 3 says that the rune's marks come first, with their
// length as a uvarint.
func (t *terminal) appendState(dst []byte) []byte {
	dst = append(dst, stateVersion)
	dst = binary.AppendUvarint(dst, uint64(t.width))
	dst = binary.AppendUvarint(dst, uint64(t.height))
	flags := uint64(0)
	for i, set := range [...]bool{t.fresh, t.cut, t.alternate, t.noWrap, t.insert, t.origin, t.drawing[0], t.drawing[1], t.shifted} {
		if set {
			flags |= 1 << i
		}
	}
	dst = binary.AppendUvarint(dst, flags)
	if t.fresh {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(t.marks))
	dst = t.main.appendState(dst)
	if t.alternate {
		dst = t.alt.appendState(dst)
	}
	return dst
}

func (s *screen) appendState(dst []byte) []byte {
	wrapNext := 0
	if s.wrapNext {
		wrapNext = 1
	}
	for _, n := range []int{s.x, s.y, wrapNext, s.saved.x, s.saved.y, s.top, s.bottom, len(s.above)} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	dst = append(dst, s.above...)
	for i := range s.rows {
		r := &s.rows[i]
		n := uint64(len(r.cells)) * 2
		if r.wrapped {
			n++
		}
		dst = binary.AppendUvarint(dst, n)
		for _, c := range r.cells {
			if c.rune <= 0 {
				dst = append(dst, byte(-c.rune))
				continue
			}
			if c.marks != "" {
				dst = append(dst, 3)
				dst = binary.AppendUvarint(dst, uint64(len(c.marks)))
				dst = append(dst, c.marks...)
			}
			dst = utf8.AppendRune(dst, c.rune)
		}
	}
	return dst
}

// readState makes a terminal of what appendState wrote; ok is false for anything else.
func readState(b []byte) (t *terminal, ok bool) {
	r := stateReader{b: b}
	if r.byte() != stateVersion {
		return nil, false
	}
	t = newTerminal(max(1, r.number(maxWidth)), max(1, r.number(maxHeight)))
	flags := r.number(1<<16 - 1)
	has := func(flag int) bool { return flags&flag != 0 }
	t.fresh, t.cut, t.alternate = has(stateFresh), has(stateCut), has(stateAlternate)
	if t.fresh {
		return t, !r.bad && len(r.b) == 0 && !t.cut && !t.alternate
	}
	t.noWrap, t.insert, t.origin, t.shifted = has(stateNoWrap), has(stateInsert), has(stateOrigin), has(stateShifted)
	t.drawing = [2]bool{has(stateDrawing0), has(stateDrawing1)}
	t.marks = r.number(maxAllMarks)
	r.screen(&t.main, t.width)
	if t.alternate {
		t.alt.reset(t.height, 0)
		r.screen(&t.alt, t.width)
	}
	return t, !r.bad && len(r.b) == 0
}

// A stateReader takes parts off the front of a state; the first that is not there, or out of bounds, sets bad.
type stateReader struct {
	b   []byte
	bad bool
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

// screen reads a screen into s, which has the rows for it.
func (r *stateReader) screen(s *screen, width int) {
	lastX, lastY := width-1, len(s.rows)-1
	s.x, s.y = r.number(lastX), r.number(lastY)
	s.wrapNext = r.number(1) == 1
	s.saved = point{r.number(lastX), r.number(lastY)}
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
			row.cells = append(row.cells, r.cell())
			if r.bad {
				return
			}
		}
	}
}

func (r *stateReader) cell() (c cell) {
	if len(r.b) > 0 && r.b[0] <= 2 {
		c.rune = -rune(r.byte())
		return c
	}
	if len(r.b) > 0 && r.b[0] == 3 {
		r.byte()
		c.marks = string(r.take(r.number(maxMarks)))
	}
	var size int
	c.rune, size = utf8.DecodeRune(r.b)
	r.take(max(1, size))
	if c.rune < 0x20 || !utf8.ValidString(c.marks) {
		r.fail()
	}
	return c
}
