package enrich

import (
	"bytes"
	"time"
)

const (
	// standing is the minimum time on the screen for a line that is gone at the record's end to be
	// kept in the text.
	standing = 300 * time.Millisecond
	// typing is the minimum time between the first and the last rune of typed text, as programs
	// draw at once. Typed text is kept even if it is replaced earlier.
	typing = 20 * time.Millisecond
	// maxTransients and maxTransientBytes limit the erased and overwritten lines in a text.
	maxTransients, maxTransientBytes = 64, 4 << 10
)

// transient is a line that stood on the screen, or was typed, and was erased or overwritten.
type transient struct {
	at   int // the length of terminal.out at that time
	text []byte
}

// clock holds the arrival times of the current record's bytes, rounded as in the record's timing: a
// copy of the record has no others, and an audit renders its text again from them.
type clock struct {
	arrivals []arrival
	times    []time.Duration // of the arrivals so far, since the first
	next     int             // the offset of the next arrival; noArrival for none
}

const noArrival = int(^uint(0) >> 1)

// start starts a record. A record that arrives too quickly for anything to stand or be typed counts
// as one arrival.
func (c *clock) start(arrivals []arrival) {
	c.arrivals, c.times, c.next = arrivals, c.times[:0], 0
	for _, a := range arrivals {
		if time.Duration(a.at-arrivals[0].at) >= typing {
			return
		}
	}
	c.times, c.next = append(c.times, 0), noArrival
}

// stop ends the record.
func (c *clock) stop() {
	c.arrivals, c.next = nil, noArrival
	if c.times = c.times[:0]; cap(c.times) > 1<<10 {
		c.times = nil
	}
}

// reach advances to the arrival of the byte at i.
func (c *clock) reach(i int) {
	for i >= c.next {
		n := len(c.times)
		if n == len(c.arrivals) {
			c.next = noArrival
			return
		}
		at := time.Duration(c.arrivals[n].at - c.arrivals[0].at).Truncate(time.Microsecond)
		if n > 0 {
			at = max(at, c.times[n-1])
		}
		c.times = append(c.times, at)
		c.next += c.arrivals[n].bytes
	}
}

// number returns the number of the current arrival, from 1 on; 0 for none.
func (c *clock) number() uint16 { return uint16(len(c.times)) }

// since returns the time since an arrival.
func (c *clock) since(number uint16) time.Duration {
	return c.times[len(c.times)-1] - c.times[number-1]
}

// disturb keeps the line of cells that are about to be erased or overwritten, if it has stood on
// the screen. by holds the ASCII that overwrites them; nil for anything else.
func (t *terminal) disturb(y, x, end int, by []byte) {
	r := &t.active().rows[y]
	if !r.written || !r.entered && (len(t.clock.times) < 2 || t.clock.since(1) < typing) {
		return
	}
	young := true // no cell that is missing from all texts found yet
	looked := 0   // up to where hasStood has searched
	for i := x; i < min(end, len(r.cells)); i++ {
		c := &r.cells[i]
		if !c.isContent() || by != nil && c.isPlain(by[i-x]) {
			continue
		}
		stood := false
		if c.at == 0 { // the rest of its line may not be in a text yet
			if i >= looked {
				stood, looked = t.hasStood(r.cells, i)
			}
		} else {
			stood = r.entered || t.clock.since(c.at) >= standing || young && t.wasTyped(r.cells[i:])
			young = false
		}
		if stood {
			t.keep(y, i)
			return
		}
	}
}

// pane returns the bounds of the part of a row that contains a cell: on the alternate screen, the
// part between the edges of panes.
func (t *terminal) pane(cells []cell, x int) (begin, end int) {
	if !t.alternate {
		return 0, len(cells)
	}
	for begin = x; begin > 0 && cells[begin-1].rune != paneEdge; begin-- {
	}
	for end = x; end < len(cells) && cells[end].rune != paneEdge; end++ {
	}
	return begin, end
}

// hasStood reports whether something that is not in a text has stood in a cell's pane, and returns
// the end of the pane.
func (t *terminal) hasStood(cells []cell, x int) (stood bool, end int) {
	begin, end := t.pane(cells, x)
	for i := begin; i < end; i++ {
		if c := &cells[i]; c.at > 0 && c.isContent() && t.clock.since(c.at) >= standing {
			return true, end
		}
	}
	return false, max(end, x+1)
}

// enter records that a carriage return followed the text in the cursor's row: in a full-screen
// program, the user has pressed Enter. On the main screen, a progress bar looks the same. A line
// feed that follows means that the cursor only moved to the next row.
func (t *terminal) enter() {
	s := t.active()
	r := &s.rows[s.y]
	if s.x == 0 || s.x > len(r.cells) || r.cells[s.x-1].at == 0 {
		return
	}
	for i := s.x; i < len(r.cells) && r.cells[i].rune != paneEdge; i++ {
		if r.cells[i].isContent() {
			return
		}
	}
	r.entered = true
}

// wasTyped reports whether the cells, up to the edge of a pane, arrived one after another, as typed
// text does. On the main screen it must also have taken some time, since a progress bar may grow in
// the same way.
func (t *terminal) wasTyped(cells []cell) bool {
	first, last := cells[0].at, cells[0].at
	for i := range cells {
		c := &cells[i]
		if t.alternate && c.rune == paneEdge {
			break
		}
		if !c.isContent() {
			continue
		}
		if c.at < last {
			return false
		}
		last = c.at
	}
	return last > first && (t.alternate || t.clock.times[last-1]-t.clock.times[first-1] >= typing)
}

// paneEdge separates panes that are side by side and whose contents are unrelated.
const paneEdge = '│'

// keep adds the line of a cell to the transients; in a full-screen program, only the part in the
// cell's pane.
func (t *terminal) keep(y, x int) {
	s := t.active()
	s.rows[y].entered = false
	first, last := s.lineAt(y)
	t.line = t.line[:0]
	if first == last && t.alternate {
		cells := s.rows[y].cells
		begin, end := t.pane(cells, x)
		t.line = t.marks.appendCells(t.line, cells[begin:end])
		forgetArrivals(cells[begin:end])
	} else {
		if first == 0 {
			t.line = append(t.line, s.above...)
		}
		for i := first; i <= last; i++ {
			t.line = t.marks.appendCells(t.line, s.rows[i].cells)
			forgetArrivals(s.rows[i].cells)
		}
	}
	t.addTransient(bytes.Trim(t.line, " "))
}

// forgetArrivals marks cells as contained in a text.
func forgetArrivals(cells []cell) {
	for i := range cells {
		cells[i].at = 0
	}
}

// addTransient adds a line, unless another transient contains it. Transients that it contains are
// dropped.
func (t *terminal) addTransient(line []byte) {
	if len(line) == 0 {
		return
	}
	kept, size := t.transients[:0], 0
	for _, k := range t.transients {
		if bytes.Contains(k.text, line) {
			return // no part of it is in kept, which is therefore complete
		}
		if !bytes.Contains(line, k.text) {
			kept = append(kept, k)
			size += len(k.text)
		}
	}
	t.transients = kept
	if room := maxTransientBytes - size; len(kept) == maxTransients || len(line) > room {
		t.omitted = true
		if line = line[:cutText(line, room)]; len(kept) == maxTransients || len(line) == 0 {
			return
		}
	}
	t.transients = append(t.transients, transient{len(t.out), bytes.Clone(line)})
}

// appendCollected appends the text of the current record: the lines that it wrote to and, in the
// places where they were, those that are gone. A line that another one contains is omitted.
func (t *terminal) appendCollected(dst []byte) []byte {
	room := maxText
	kept := t.transients[:0]
	for _, k := range t.transients {
		if !bytes.Contains(t.out, k.text) {
			kept = append(kept, k)
			room -= len(lineSeparator) + len(erasedMark) + len(k.text) + len(endOfMark)
		}
	}
	if t.omitted {
		kept = append(kept, transient{len(t.out), []byte("…")})
		room -= len(lineSeparator) + len(erasedMark) + len("…") + len(endOfMark)
	}
	out := t.out[:cutText(t.out, room)]
	start, done := len(dst), 0
	add := func(parts ...[]byte) {
		if len(dst) > start {
			dst = append(dst, lineSeparator...)
		}
		for _, p := range parts {
			dst = append(dst, p...)
		}
	}
	flush := func(end int) {
		if end = min(end, len(out)); end > done {
			add(bytes.TrimPrefix(out[done:end], []byte(lineSeparator)))
			done = end
		}
	}
	for _, k := range kept {
		flush(k.at)
		add([]byte(erasedMark), k.text, []byte(endOfMark))
	}
	flush(len(out))
	clear(t.transients)
	t.transients, t.omitted = t.transients[:0], false
	return dst
}
