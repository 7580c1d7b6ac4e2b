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

// A line is the unfinished line of one stream, at most MaxLine bytes. It owns its buffers. It is
// more than a line where the line's end is in a control string: see heldLines.
type line struct {
	stream   schema.Stream
	pending  []byte    // what is not in a record yet
	held     held      // of pending
	arrivals []arrival // of pending, whose bytes they add up to
	state    parser    // at the start of pending
	hidden   bool      // text is invisible there (SGR 8); in a session with a terminal, see terminal.hidden
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
	open     bool // the newline at its end is of a control string
	plain    bool // it is printable ASCII, but for its line end
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

// hiddenParser is set in the state of a parser in a segment where what follows is invisible.
const hiddenParser = 0x80

func (l *line) parserState() uint8 {
	if l.hidden {
		return uint8(l.state) | hiddenParser
	}
	return uint8(l.state)
}

// add takes bytes that arrived at one time and emits the pieces that they finish.
// The bytes stay the caller's.
func (l *line) add(b []byte, at int64, now time.Time, emit func(*line, piece)) {
	// What arrived together is not cut, since chunks may divide it anywhere.
	if k := len(l.arrivals) - 1; k >= 0 && at != l.arrivals[k].at && at-l.arrivals[0].at >= int64(MaxAge) {
		l.flush(now, emit)
	}
	for len(b) > 0 {
		n := min(len(b), MaxLine-len(l.pending))
		newline := bytes.IndexByte(b[:n], '\n')
		if newline >= 0 {
			n = newline + 1
		}
		if newline >= 0 && len(l.pending) == 0 { // the usual case: a whole line in one chunk, not copied here
			if plain := isPlain(b[:n], l.state); plain || !endsInString(b[:n], l.state) {
				l.arrivals = append(l.arrivals, arrival{at, n})
				l.consumed += uint64(n)
				state := l.state
				l.state = ground
				emit(l, piece{log: b[:n], arrivals: l.arrivals, state: state, cause: whole, plain: plain})
				l.arrivals = l.arrivals[:0]
				b = b[n:]
				continue
			}
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
		case newline >= 0 && l.held.bytes == 0 && !endsInString(l.pending, l.state):
			l.cut(len(l.pending), ground, whole, now, emit)
		case newline >= 0 && !l.hold():
			l.release(false, now, emit)
		case len(l.pending) < MaxLine:
		case l.held.bytes > 0:
			l.release(true, now, emit)
		default:
			_, safe, state := scan(nil, l.pending, l.state, false)
			if safe == 0 { // one sequence fills the record: nothing is left but to cut it
				_, safe, state = scan(nil, l.pending, l.state, true)
			}
			l.cut(safe, state, full, now, emit)
		}
	}
}

// isPlain reports whether a line is printable ASCII, but for its line end, with the parser's state
// before it.
func isPlain(line []byte, state parser) bool {
	return state == ground && schema.IsPrintable(trimEnd(line))
}

// flush emits what is pending, as far as that cuts no rune and no escape sequence.
func (l *line) flush(now time.Time, emit func(*line, piece)) {
	l.release(true, now, emit)
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
	l.release(true, now, emit)
	if len(l.pending) > 0 {
		l.cut(len(l.pending), ground, whole, now, emit)
	}
}

// cut emits the first n bytes of pending; state is the parser's after them.
func (l *line) cut(n int, state parser, why cause, now time.Time, emit func(*line, piece)) {
	rest := l.part(pendingRest{l.pending, l.arrivals}, n, state, piece{cause: why}, emit)
	l.keep(rest, now)
}

// A pendingRest is the part of the pending bytes that is not emitted yet.
type pendingRest struct {
	bytes    []byte
	arrivals []arrival
}

// part emits the first n bytes of from as a piece with the cause in p, and returns the rest, which
// the caller passes to keep; state is the parser's state after them.
func (l *line) part(from pendingRest, n int, state parser, p piece, emit func(*line, piece)) (rest pendingRest) {
	k, left := 0, n
	for left > 0 && left >= from.arrivals[k].bytes {
		left -= from.arrivals[k].bytes
		k++
	}
	rest = pendingRest{from.bytes[n:], from.arrivals[k:]}
	p.log, p.arrivals, p.state = from.bytes[:n], from.arrivals[:k], l.state
	p.plain = isPlain(p.log, l.state)
	var split arrival // the arrival that the cut goes through
	if left > 0 {
		split = arrival{from.arrivals[k].at, from.arrivals[k].bytes - left}
		from.arrivals[k].bytes = left
		p.arrivals = from.arrivals[:k+1]
	}
	l.consumed += uint64(n)
	l.state = state
	emit(l, p)
	if split.bytes > 0 {
		rest.arrivals[0] = split
	}
	return rest
}

// keep replaces the pending bytes by their rest.
func (l *line) keep(rest pendingRest, now time.Time) {
	l.pending = append(l.pending[:0], rest.bytes...)
	l.arrivals = append(l.arrivals[:0], rest.arrivals...)
	l.held = held{}
	l.since = now
}

// appendTiming appends the timing of a record: see schema.Record. The delays up to a pair add up to
// its time, to the microsecond: what is cut off a delay is not cut off the next one too.
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
