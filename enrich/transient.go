package enrich

import (
	"bytes"
	"time"
)

const (
	// standing is the time for which a line has to be on the screen to be kept in the text when it
	// is gone at the record's end.
	standing = 300 * time.Millisecond
	// typing is the least time between the first and the last rune of typed text, which programs
	// draw at once. Typed text is kept even if it is replaced before it stood.
	typing = 20 * time.Millisecond
	// maxTransients and maxTransientBytes bound the erased and overwritten lines in a text.
	maxTransients, maxTransientBytes = 64, 4 << 10
)

// A transient is a line that stood on the screen, or was typed, and was erased or overwritten.
type transient struct {
	at   int // how much of terminal.out was there already
	text []byte
}

// A clock has the times at which the bytes of the record at hand arrived, as far as its timing has
// them: a copy of the record has no others, and an audit makes its text again from them.
type clock struct {
	arrivals []arrival
	times    []time.Duration // of the arrivals so far, since the first
	next     int             // where the next one begins; noArrival for none
}

const noArrival = int(^uint(0) >> 1)

// start begins a record. One that comes in too short a time for anything to stand, or to be typed,
// has one arrival.
func (c *clock) start(arrivals []arrival) {
	c.arrivals, c.times, c.next = arrivals, c.times[:0], 0
	for _, a := range arrivals {
		if time.Duration(a.at-arrivals[0].at) >= typing {
			return
		}
	}
	c.times, c.next = append(c.times, 0), noArrival
}

// stop ends it.
func (c *clock) stop() {
	c.arrivals, c.next = nil, noArrival
	if c.times = c.times[:0]; cap(c.times) > 1<<10 {
		c.times = nil
	}
}

// reach goes on to the arrival that the byte at i is of.
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

// number returns that of the arrival at hand, from 1 on; 0 for none.
func (c *clock) number() uint16 { return uint16(len(c.times)) }

// since returns how long ago an arrival was.
func (c *clock) since(number uint16) time.Duration {
	return c.times[len(c.times)-1] - c.times[number-1]
}

// disturb keeps the line of cells that are about to be erased or overwritten, if it has stood on
// the screen. by holds the ASCII that overwrites them; nil for anything else.
func (t *terminal) disturb(y, x, end int, by []byte) {
	r := &t.on().rows[y]
	if !r.written || !r.entered && (len(t.clock.times) < 2 || t.clock.since(1) < typing) {
		return
	}
	young := true // none is found yet that is not in a text
	looked := 0   // up to where hasStood has looked
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

// pane returns where the part of a row begins and ends that a cell is in: on the alternate screen,
// that between the edges of panes.
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

// hasStood reports whether something that is not in a text has stood in a cell's part of a row, and
// where that ends.
func (t *terminal) hasStood(cells []cell, x int) (stood bool, end int) {
	begin, end := t.pane(cells, x)
	for i := begin; i < end; i++ {
		if c := &cells[i]; c.at > 0 && c.isContent() && t.clock.since(c.at) >= standing {
			return true, end
		}
	}
	return false, max(end, x+1)
}

// enter records that the text in the cursor's row ended with a carriage return: in a full-screen
// program, the user has pressed Enter after it. On the main screen, a progress bar looks the same.
// A line feed that follows means that the cursor only moved on to the next row.
func (t *terminal) enter() {
	s := t.on()
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

// wasTyped reports whether cells, up to the edge of a pane, came one after another, as what a
// person types does. On the main screen that took some time, since a progress bar may grow so too.
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

// paneEdge stands between panes that are side by side. What one shows has nothing to do with the
// other.
const paneEdge = '│'

// keep adds the line of a cell to the transients; in a full-screen program, only the part that is
// in the cell's pane.
func (t *terminal) keep(y, x int) {
	s := t.on()
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

// forgetArrivals notes that cells are in a text.
func forgetArrivals(cells []cell) {
	for i := range cells {
		cells[i].at = 0
	}
}

// addTransient adds a line, unless another one has it. Those that it has are left out.
func (t *terminal) addTransient(line []byte) {
	if len(line) == 0 {
		return
	}
	kept, size := t.transients[:0], 0
	for _, k := range t.transients {
		if bytes.Contains(k.text, line) {
			return // which nothing in kept is a part of, so that kept is all so far
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

// appendTold appends the text of the record at hand: the lines that it wrote to, and in their
// places those that are gone. One that another line has is left out.
func (t *terminal) appendTold(dst []byte) []byte {
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
	told := func(end int) {
		if end = min(end, len(out)); end > done {
			add(bytes.TrimPrefix(out[done:end], []byte(lineSeparator)))
			done = end
		}
	}
	for _, k := range kept {
		told(k.at)
		add([]byte(erasedMark), k.text, []byte(endOfMark))
	}
	told(len(out))
	clear(t.transients)
	t.transients, t.omitted = t.transients[:0], false
	return dst
}
