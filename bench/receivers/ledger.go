package receivers

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// A ledger is what one drain has got, record by record: each has its identity, and within a session
// they come in order. It is for one goroutine at a time.
type ledger struct {
	keep     bool             // how long each record took
	sessions map[string]*seen // by operation
	took     []time.Duration  // since window was called last, in no order
	Tally
}

// seen is what there is of a session: all records up to last.
type seen struct {
	last  uint64
	ended bool
}

// A tally is what a ledger says in numbers.
type Tally struct {
	Records int // each counted once
	Repeats int // of records that were there already
	Missing int // records that were passed over: one with a later sequence came
	Ended   int // sessions that are there to their end
	Latency Latency
}

// exact says whether a drain has got exactly so many records of so many sessions, each of them to
// its end. repeats says that a record may have come again.
func (t Tally) Verify(records, sessions int, repeats bool) error {
	if t.Records != records || t.Missing > 0 || t.Ended != sessions || t.Repeats > 0 && !repeats {
		return &inexactError{t, records, sessions}
	}
	return nil
}

// An inexactError says that something did not arrive, or too often.
type inexactError struct {
	got               Tally
	records, sessions int
}

func (e *inexactError) Error() string {
	return strconv.Itoa(e.got.Records) + " records arrived of " + strconv.Itoa(e.records) + ", " + strconv.Itoa(e.got.Missing) + " were passed over, " +
		strconv.Itoa(e.got.Repeats) + " came again, and " + strconv.Itoa(e.got.Ended) + " sessions of " + strconv.Itoa(e.sessions) + " came to their end"
}

func newLedger(keep bool) *ledger { return &ledger{keep: keep, sessions: make(map[string]*seen)} }

// An arrival is a record as it came.
type arrival struct {
	operation, time []byte // as the record has them
	sequence        uint64
	ended           bool // it is the last one of its session
}

func (l *ledger) add(a arrival, now time.Time) error {
	s := l.sessions[string(a.operation)]
	if s == nil {
		s = new(seen)
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
			return errors.New("the time of a record can't be read")
		}
		l.took = append(l.took, now.Sub(at))
	}
	return nil
}

// window begins to keep anew how long records take, and says how long those before took.
func (l *ledger) window() Latency {
	slices.Sort(l.took)
	was := newLatency(l.took)
	l.took = l.took[:0]
	return was
}

// A latency is how long records took from the terminal to the receiver, in milliseconds.
type Latency struct {
	N                        int
	P50, P99, P999, Max, Min float64
	// Curve has points of the share of records, and how long they took at most.
	Curve [][2]float64 `json:",omitempty"`
}

func newLatency(sorted []time.Duration) Latency {
	n := len(sorted)
	if n == 0 {
		return Latency{}
	}
	at := func(share float64) float64 { return measure.Milliseconds(sorted[min(n-1, int(share*float64(n)))]) }
	l := Latency{N: n, P50: at(.5), P99: at(.99), P999: at(.999), Max: measure.Milliseconds(sorted[n-1]), Min: measure.Milliseconds(sorted[0])}
	// Twelve points for each nine, as far as one in a hundred thousand, and for each at least ten
	// records behind it.
	for beyond := 1.0; beyond > max(1e-5, 10/float64(n)); beyond *= 0.8254 { // the twelfth root of 1/10
		l.Curve = append(l.Curve, [2]float64{1 - beyond, at(1 - beyond)})
	}
	return l
}

var errRecord = errors.New("a record does not have the form that is expected")

// Quotes within a string are escaped, so that nothing that a session shows looks like these.
const (
	jsonOperation = `,"operation_id":"`
	jsonEvent     = `,"event":"`
	jsonSequence  = `,"sequence":`
)

// readJSON reads a record as HTTPS drains get it.
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

// readSyslog reads a message of RFC 5424:
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

// between is what is behind a text, up to a byte; rest is behind that.
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
