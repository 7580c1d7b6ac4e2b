package enrich

import (
	"bytes"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Limits of a line that nothing else ends.
const (
	// MaxLine is the maximum number of bytes of a line in one record.
	MaxLine = 16 << 10
	// MaxAge is the time after its first byte at which a line is cut.
	MaxAge = 10 * time.Second
)

// line is the unfinished line of one stream, at most MaxLine bytes. It owns its buffers. It spans
// several lines if a line's end is in a control string: see held.
type line struct {
	stream   schema.Stream
	pending  []byte    // not in a record yet
	held     held      // of pending
	arrivals []arrival // of pending, whose bytes they add up to
	state    parser    // at the start of pending
	hidden   bool      // text at the start of pending is invisible (SGR 8); with a terminal, see terminal.hidden
	consumed uint64    // bytes in records
	// since is the time, on the enricher's clock, at which pending received its first byte or was
	// last cut for its age.
	since time.Time
}

// arrival is a number of bytes that arrived at one time.
type arrival struct {
	at    int64 // nanoseconds since 1970 UTC
	bytes int
}

// piece is a finished piece of a line. Its bytes are valid until the next call.
type piece struct {
	log      []byte
	arrivals []arrival
	state    parser // at its start
	cause    cause
	open     bool // the newline at its end is inside a control string
	plain    bool // printable ASCII, except for the line end
}

// cause is the reason why a piece ends.
type cause uint8

const (
	whole cause = iota // a newline, a gap, or the end of the session
	full               // MaxLine
	aged               // MaxAge, or a change of the terminal's size
)

// received returns the number of the stream's bytes so far, in records or pending.
func (l *line) received() uint64 { return l.consumed + uint64(len(l.pending)) }

// hiddenParser is set in a segment's parser state if the following text is invisible.
const hiddenParser = 0x80

func (l *line) parserState() uint8 {
	if l.hidden {
		return uint8(l.state) | hiddenParser
	}
	return uint8(l.state)
}

// add adds bytes that arrived at one time and emits the pieces that they complete. The caller keeps
// ownership of the bytes.
func (l *line) add(b []byte, at int64, now time.Time, emit func(*line, piece)) {
	// Bytes that arrived together are not cut, because chunks may divide them anywhere.
	if k := len(l.arrivals) - 1; k >= 0 && at != l.arrivals[k].at && at-l.arrivals[0].at >= int64(MaxAge) {
		l.flush(now, emit)
	}
	for len(b) > 0 {
		n := min(len(b), MaxLine-len(l.pending))
		newline := bytes.IndexByte(b[:n], '\n')
		if newline >= 0 {
			n = newline + 1
		}
		if newline >= 0 && len(l.pending) == 0 { // the usual case, without a copy: a whole line in one chunk
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
			if safe == 0 { // one sequence fills the record, so it has to be cut
				_, safe, state = scan(nil, l.pending, l.state, true)
			}
			l.cut(safe, state, full, now, emit)
		}
	}
}

// isPlain reports whether a line is printable ASCII, except for its line end; state is the parser's
// state before it.
func isPlain(line []byte, state parser) bool {
	return state == ground && schema.IsPrintable(trimEnd(line))
}

// flush emits the pending bytes, except for an unfinished rune or escape sequence at the end.
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

// end emits all pending bytes.
func (l *line) end(now time.Time, emit func(*line, piece)) {
	l.release(true, now, emit)
	if len(l.pending) > 0 {
		l.cut(len(l.pending), ground, whole, now, emit)
	}
}

// cut emits the first n bytes of pending; state is the parser's state after them.
func (l *line) cut(n int, state parser, why cause, now time.Time, emit func(*line, piece)) {
	rest := l.part(pendingRest{l.pending, l.arrivals}, n, state, piece{cause: why}, emit)
	l.keep(rest, now)
}

// pendingRest is the part of the pending bytes that is not emitted yet.
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

// keep replaces the pending bytes with their rest.
func (l *line) keep(rest pendingRest, now time.Time) {
	l.pending = append(l.pending[:0], rest.bytes...)
	l.arrivals = append(l.arrivals[:0], rest.arrivals...)
	l.held = held{}
	l.since = now
}

// appendTiming appends the timing of a record: see schema.Record. The sum of the delays up to a
// pair is its time, to the microsecond: rounding errors do not accumulate.
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
