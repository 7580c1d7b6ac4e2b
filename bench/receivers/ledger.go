package receivers

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// A ledger checks the records of one drain by their operation and sequence. It is for one goroutine
// at a time.
type ledger struct {
	keep     bool                 // keep latencies
	sessions map[string]*progress // by operation
	took     []time.Duration      // latencies since the last call of window, in no order
	Tally
}

// progress is the last record of a session that has arrived.
type progress struct {
	last  uint64
	ended bool
}

// A Tally has the counts of a ledger.
type Tally struct {
	Records int // without repeats
	Repeats int // records that had arrived before
	Missing int // records that were skipped: a later one of their session arrived first
	Ended   int // sessions whose end has arrived
	Latency Latency
}

// Verify returns an error unless exactly that many records of that many complete sessions have
// arrived. repeats allows records that arrived more than once.
func (t Tally) Verify(records, sessions int, repeats bool) error {
	if t.Records != records || t.Missing > 0 || t.Ended != sessions || t.Repeats > 0 && !repeats {
		return &inexactError{t, records, sessions}
	}
	return nil
}

// An inexactError reports records that did not arrive, or arrived more than once.
type inexactError struct {
	got               Tally
	records, sessions int
}

func (e *inexactError) Error() string {
	return strconv.Itoa(e.got.Records) + " records arrived of " + strconv.Itoa(e.records) + ", " + strconv.Itoa(e.got.Missing) + " were passed over, " +
		strconv.Itoa(e.got.Repeats) + " came again, and " + strconv.Itoa(e.got.Ended) + " sessions of " + strconv.Itoa(e.sessions) + " came to their end"
}

func newLedger(keep bool) *ledger { return &ledger{keep: keep, sessions: make(map[string]*progress)} }

// An arrival is one record that arrived.
type arrival struct {
	operation, time []byte // as in the record
	sequence        uint64
	ended           bool // the last record of its session
}

func (l *ledger) add(a arrival, now time.Time) error {
	s := l.sessions[string(a.operation)]
	if s == nil {
		s = new(progress)
		l.sessions[string(a.operation)] = s
	}
	if a.sequence <= s.last {
		l.Repeats++
		return nil
	}
	l.Missing += int(a.sequence - s.last - 1)
	l.Records++
	s.last = a.sequence
	if a.ended && !s.ended {
		s.ended = true
		l.Ended++
	}
	if l.keep {
		at, err := time.Parse(time.RFC3339Nano, string(a.time))
		if err != nil {
			return errors.New("parse the time of a record")
		}
		l.took = append(l.took, now.Sub(at))
	}
	return nil
}

// window returns the latencies since the last call and starts a new window.
func (l *ledger) window() Latency {
	slices.Sort(l.took)
	was := newLatency(l.took)
	l.took = l.took[:0]
	return was
}

// A Latency has the times of records from the terminal to the receiver, in milliseconds.
type Latency struct {
	N                        int
	P50, P99, P999, Max, Min float64
	// Curve has the latency, as y, that a share of the records, as x, does not exceed.
	Curve [][2]float64 `json:",omitempty"`
}

func newLatency(sorted []time.Duration) Latency {
	n := len(sorted)
	if n == 0 {
		return Latency{}
	}
	at := func(share float64) float64 { return measure.Milliseconds(sorted[min(n-1, int(share*float64(n)))]) }
	l := Latency{N: n, P50: at(.5), P99: at(.99), P999: at(.999), Max: measure.Milliseconds(sorted[n-1]), Min: measure.Milliseconds(sorted[0])}
	// Twelve points for each nine, up to one in a hundred thousand, as long as at least ten records
	// are slower.
	for beyond := 1.0; beyond > max(1e-5, 10/float64(n)); beyond *= 0.8254 { // the twelfth root of 1/10
		l.Curve = append(l.Curve, [2]float64{1 - beyond, at(1 - beyond)})
	}
	return l
}

var errRecord = errors.New("parse a record: unexpected format")

// Quotes within a string are escaped, so that no output of a session contains these.
const (
	jsonOperation = `,"operation_id":"`
	jsonEvent     = `,"event":"`
	jsonSequence  = `,"sequence":`
)

// readJSON parses a record of an HTTPS drain.
func readJSON(line []byte) (a arrival, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(jsonUnit))
	if !ok {
		return a, errRecord
	}
	var event, number []byte
	if a.time, rest, ok = bytes.Cut(rest, []byte(`"`)); !ok {
		return a, errRecord
	}
	if a.operation, rest, ok = between(rest, jsonOperation, '"'); !ok {
		return a, errRecord
	}
	if event, rest, ok = between(rest, jsonEvent, '"'); !ok {
		return a, errRecord
	}
	if number, _, ok = between(rest, jsonSequence, ','); !ok {
		return a, errRecord
	}
	a.ended = string(event) == "end"
	a.sequence, ok = digits(number)
	return a, formOf(ok)
}

// readSyslog parses a message of RFC 5424:
//
//	<PRI>1 TIMESTAMP HOST APP OPERATION_ID EVENT [session@32473 operation_id="…" sequence="…" …
func readSyslog(message []byte) (a arrival, err error) {
	var fields [6][]byte
	rest, ok := message, true
	for i := range fields {
		if fields[i], rest, ok = bytes.Cut(rest, []byte(" ")); !ok {
			return a, errRecord
		}
	}
	number, _, ok := between(rest, ` sequence="`, '"')
	if !ok {
		return a, errRecord
	}
	a.time, a.operation, a.ended = fields[1], fields[4], string(fields[5]) == "end"
	a.sequence, ok = digits(number)
	return a, formOf(ok)
}

func formOf(ok bool) error {
	if !ok {
		return errRecord
	}
	return nil
}

// between returns the bytes after the text before, up to the byte end, and the rest after that.
func between(b []byte, before string, end byte) (found, rest []byte, ok bool) {
	_, b, ok = bytes.Cut(b, []byte(before))
	if !ok {
		return nil, nil, false
	}
	i := bytes.IndexByte(b, end)
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

func digits(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, len(b) > 0
}
