package enrich

import (
	"bytes"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Where a line is cut, if nothing else ends it.
const (
	// MaxLine is how many bytes of a line a record has at most.
	MaxLine = 16 << 10
	// MaxAge is how long after its first byte a line is cut.
	MaxAge = 10 * time.Second
)

// A line is the unfinished line of one stream, at most MaxLine bytes. It owns its buffers.
type line struct {
	stream   schema.Stream
	pending  []byte    // what is not in a record yet
	arrivals []arrival // of pending, whose bytes they add up to
	state    parser    // at the start of pending
	consumed uint64    // bytes in records
	// since is when pending got its first byte, or was last cut for its age, by the enricher's clock.
	since time.Time
}

// An arrival says that bytes arrived at one time.
type arrival struct {
	at    int64 // nanoseconds since 1970 UTC
	bytes int
}

// A piece is a finished piece of a line. Its bytes are valid until the next call.
type piece struct {
	log      []byte
	arrivals []arrival
	state    parser // at its start
	cause    cause
}

// A cause is why a piece ends where it does.
type cause uint8

const (
	whole cause = iota // a newline, or the end of the session or of what is known of it
	full               // MaxLine
	aged               // MaxAge, or a change of the terminal's size
)

// received counts the stream's bytes so far, in records or pending.
func (l *line) received() uint64 { return l.consumed + uint64(len(l.pending)) }

// add takes bytes that arrived at one time and emits the pieces that they finish.
// The bytes stay the caller's.
func (l *line) add(b []byte, at int64, now time.Time, emit func(*line, piece)) {
	if len(l.pending) > 0 && at-l.arrivals[0].at >= int64(MaxAge) {
		l.flush(now, emit)
	}
	for len(b) > 0 {
		n := min(len(b), MaxLine-len(l.pending))
		newline := bytes.IndexByte(b[:n], '\n')
		if newline >= 0 {
			n = newline + 1
		}
		if newline >= 0 && len(l.pending) == 0 { // the usual case: a whole line in one chunk, not copied here
			l.arrivals = append(l.arrivals, arrival{at, n})
			l.consumed += uint64(n)
			state := l.state
			l.state = ground
			emit(l, piece{log: b[:n], arrivals: l.arrivals, state: state, cause: whole})
			l.arrivals = l.arrivals[:0]
			b = b[n:]
			continue
		}
		if len(l.pending) == 0 {
			l.since = now
		}
		l.pending = append(l.pending, b[:n]...)
		if k := len(l.arrivals) - 1; k >= 0 && l.arrivals[k].at == at {
			l.arrivals[k].bytes += n
		} else {
			l.arrivals = append(l.arrivals, arrival{at, n})
		}
		b = b[n:]
		switch {
		case newline >= 0:
			l.cut(len(l.pending), ground, whole, now, emit)
		case len(l.pending) == MaxLine:
			_, safe, state := scan(nil, l.pending, l.state, false)
			if safe == 0 { // one sequence fills the record: nothing is left but to cut it
				_, safe, state = scan(nil, l.pending, l.state, true)
			}
			l.cut(safe, state, full, now, emit)
		}
	}
}

// flush emits what is pending, as far as that cuts no rune and no escape sequence.
func (l *line) flush(now time.Time, emit func(*line, piece)) {
	if len(l.pending) == 0 {
		return
	}
	l.since = now
	if _, safe, state := scan(nil, l.pending, l.state, false); safe > 0 {
		l.cut(safe, state, aged, now, emit)
	}
}

// end emits all that is pending.
func (l *line) end(now time.Time, emit func(*line, piece)) {
	if len(l.pending) > 0 {
		l.cut(len(l.pending), ground, whole, now, emit)
	}
}

// cut emits the first n bytes of pending; state is the parser's after them.
func (l *line) cut(n int, state parser, why cause, now time.Time, emit func(*line, piece)) {
	k, rest := 0, n
	for rest > 0 && rest >= l.arrivals[k].bytes {
		rest -= l.arrivals[k].bytes
		k++
	}
	of := l.arrivals[:k]
	var split arrival // the arrival that the cut goes through
	if rest > 0 {
		split = arrival{l.arrivals[k].at, l.arrivals[k].bytes - rest}
		l.arrivals[k].bytes = rest
		of = l.arrivals[:k+1]
	}
	l.consumed += uint64(n)
	before := l.state
	l.state = state
	emit(l, piece{log: l.pending[:n], arrivals: of, state: before, cause: why})
	l.pending = append(l.pending[:0], l.pending[n:]...)
	if split.bytes > 0 {
		l.arrivals[k] = split
	}
	l.arrivals = append(l.arrivals[:0], l.arrivals[k:]...)
	l.since = now
}

// appendTiming appends the timing of a record: see schema.Record. The delays up to a pair add up to its time, to
// the microsecond: what is cut off a delay is not cut off the next one too.
func appendTiming(dst []byte, arrivals []arrival) []byte {
	var last int64 // microseconds since the first
	for i, a := range arrivals {
		if i > 0 {
			dst = append(dst, ' ')
		}
		at := max(last, (a.at-arrivals[0].at)/int64(time.Microsecond))
		dst = strconv.AppendInt(dst, at-last, 10)
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(a.bytes), 10)
		last = at
	}
	return dst
}
