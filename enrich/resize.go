package enrich

// resize changes the terminal's size between two records. The main screen keeps the cursor's
// distance to its bottom, like terminals that can show earlier rows at the top; the alternate
// screen keeps its top, until its program redraws it.
func (t *terminal) resize(width, height int) {
	width, height = bounded(width, height)
	if t.isBlank() {
		t.width, t.height = width, height
		t.forget()
		return
	}
	t.recall()
	t.width = width
	t.main.resize(width, height, true, &t.marks)
	if t.alt.rows != nil {
		t.alt.resize(width, height, false, &t.marks)
	}
	t.height = height
	if t.fresh {
		t.settleFresh()
	}
}

// resize keeps the bottom or the top rows of a screen. No record may have written to it since its
// lines were collected.
func (s *screen) resize(width, height int, atBottom bool, m *markTable) {
	old := s.rows
	s.rows = make([]row, height)
	drop := max(0, len(old)-height) // rows that no longer fit
	if atBottom {
		below := min(drop, len(old)-1-s.y) // empty or not: the cursor has to stay on the screen
		old = old[:len(old)-below]
		old[len(old)-1].wrapped = old[len(old)-1].wrapped && below == 0
		if drop -= below; drop > 0 {
			if old[drop-1].wrapped {
				for i := range drop {
					s.above = old[i].appendText(s.above, m)
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
