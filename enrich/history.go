package enrich

import (
	"bytes"
	"slices"
)

// Limits of what a fresh terminal remembers of the rows above its cursor.
const (
	// maxRecalled is the number of their cells that can be written to again.
	maxRecalled = 4 << 10
	// maxHistory is the number of bytes of deferred lines, and trimmedHistory the number that may
	// remain after those that have scrolled off the screen are dropped.
	maxHistory, trimmedHistory = 32 << 10, 24 << 10
	// maxStateHistory is the number of these bytes that a state stores unrendered.
	maxStateHistory = 8 << 10
)

// history holds the lines that a fresh terminal has not rendered yet, because they affect nothing
// but themselves. They are rendered when something may move the cursor up to them, as editors of
// commands of several lines do. Most never are, because they are the output of programs.
type history struct {
	log   []byte // complete lines, each as in its record
	lines int
}

// read shows a piece of a line, now or later, and appends its text to dst. known is false if the
// text is the same as that of scan.
func (t *terminal) read(dst []byte, p piece, b *Buffers) (text []byte, known bool) {
	e := t.effectOf(p)
	if e < anywhere && t.mayDefer(p) {
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

// remember adds a deferred line to the history.
func (t *terminal) remember(p piece) {
	if p.cause == full { // the cursor is not where it is on a fresh terminal
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

// trimHistory drops the lines that have scrolled off the screen. Each takes at least one row.
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

// recall renders the lines of the history. If that panics, the terminal forgets them.
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

// settleFresh makes the terminal fresh after a newline that scrolled the screen. It keeps the
// lowest rows above the cursor, up to maxRecalled cells.
func (t *terminal) settleFresh() {
	s := &t.main
	s.above, s.aboveWritten = s.above[:0], false
	cells, storage := 0, 0
	for i := len(s.rows) - 1; i >= 0; i-- {
		r := &s.rows[i]
		storage += cap(r.cells)
		if cells += len(r.cells); cells > maxRecalled {
			*r = row{}
			cells = maxRecalled + 1 // forget all rows above, too
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
