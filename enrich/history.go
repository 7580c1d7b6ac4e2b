package enrich

import (
	"bytes"
	"slices"
)

// Bounds of what a fresh terminal remembers of the rows above its cursor.
const (
	// maxRecalled is how many cells of them can be written to again.
	maxRecalled = 4 << 10
	// maxHistory is how many bytes of still lines wait to be shown, trimmedHistory how many may be
	// left of them when those that have scrolled off the screen are dropped.
	maxHistory, trimmedHistory = 32 << 10, 24 << 10
	// maxStateHistory is how many of these bytes are in a state as they are.
	maxStateHistory = 8 << 10
)

// A history holds the lines that a fresh terminal has not shown yet, of those that do nothing but
// on themselves. They are shown when something may move the cursor up to them, as editors of
// commands of several lines do. Most never are: it is a program's output.
type history struct {
	log   []byte // whole lines, each as its record has it
	lines int
}

// read shows a piece of a line, now or later, and appends its text to dst; known is false where
// that is what scan reads.
func (t *terminal) read(dst []byte, p piece, b *Buffers) (text []byte, known bool) {
	e := t.effectOf(p)
	if e < anywhere && t.passesOver(p) {
		if e == still {
			t.remember(p)
			return dst, false
		}
		blank := b.blank(t.width, t.height)
		if text, known = blank.show(dst, p); known && blank.fresh {
			t.remember(p)
			return text, true
		}
	}
	text, known = t.show(dst, p)
	return text, known && e > still
}

// remember keeps a line that the terminal passesOver.
func (t *terminal) remember(p piece) {
	if p.cause == full { // the cursor is not where a fresh terminal has it
		t.forget()
		return
	}
	t.history.log = append(t.history.log, p.log...)
	t.history.lines++
	if len(t.history.log) > maxHistory {
		t.trimHistory()
		if len(t.history.log) > trimmedHistory {
			t.recall()
		}
	}
}

// trimHistory drops the lines that have scrolled off the screen. Each has a row at least.
func (t *terminal) trimHistory() {
	h := &t.history
	if h.lines < t.height {
		return
	}
	start := len(h.log)
	for range t.height - 1 {
		start = 1 + bytes.LastIndexByte(h.log[:max(0, start-1)], '\n')
	}
	h.log = append(h.log[:0], h.log[start:]...)
	h.lines = t.height - 1
	for i := range t.main.rows {
		t.main.rows[i] = row{cells: t.main.rows[i].cells[:0]}
	}
	t.marks.clear()
}

// recall shows the lines of the history. A mistake in that makes the terminal forget them.
func (t *terminal) recall() {
	if t.history.lines == 0 {
		return
	}
	defer func() {
		if recover() != nil {
			t.forget()
		}
	}()
	t.trimHistory()
	t.recalling, t.ending, t.open = true, false, false
	for line := range bytes.SplitAfterSeq(t.history.log, newline) {
		t.last = 0
		t.feed(line, ground)
	}
	t.recalling = false
	t.history.log, t.history.lines = t.history.log[:0], 0
	for i := range t.main.rows {
		r := &t.main.rows[i]
		r.written = false
		r.trim()
	}
	t.settleFresh()
}

// settleFresh makes the terminal fresh after a newline that scrolled the screen: of the rows above
// the cursor, those at the bottom are remembered, as many as have maxRecalled cells.
func (t *terminal) settleFresh() {
	s := &t.main
	s.above, s.aboveWritten = s.above[:0], false
	cells, storage := 0, 0
	for i := len(s.rows) - 1; i >= 0; i-- {
		r := &s.rows[i]
		storage += cap(r.cells)
		if cells += len(r.cells); cells > maxRecalled {
			*r = row{}
			cells = maxRecalled + 1 // those above are forgotten, too
		}
	}
	if storage > 4*maxRecalled {
		for i := range s.rows {
			s.rows[i].cells = slices.Clip(slices.Clone(s.rows[i].cells))
		}
	}
	if len(t.marks.list) > 0 {
		old := t.marks.list
		t.marks = markTable{}
		for i := range s.rows {
			for j := range s.rows[i].cells {
				if c := &s.rows[i].cells[j]; c.marks > 0 {
					marks := old[c.marks-1]
					c.marks = 0
					t.marks.add(c, marks)
				}
			}
		}
	}
	t.fresh = true
}
