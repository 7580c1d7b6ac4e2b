package receivers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/bench/process"
)

// A Witness is a receiver that checks each record: that all records of a session arrive, once and
// in order, and how long after they were shown. It serves several drains, each with its own URL
// path; all syslog connections are one drain.
type Witness struct {
	*process.Child `json:"-"`
	// Address is host and port.
	Address string
	// CAFile is the file with the authority of its certificate.
	CAFile string
}

// A WitnessSetup describes a witness.
type WitnessSetup struct {
	// Protocol is "https" (one JSON object per line; answers 200) or "syslog" (octet counting, RFC
	// 6587 §3.4.1).
	Protocol string
	// Dir is the folder for its certificate.
	Dir string
	// Latency enables the measurement of each record's latency, except for the drain Down.
	Latency bool
	// Down is a drain that answers 503 until a question brings it up.
	Down string
}

// A WitnessQuestion is a question to a witness. Its parts are done in this order.
type WitnessQuestion struct {
	// Up is a drain that accepts records from now on.
	Up string
	// Window starts a new window of latencies. Those of the window before are in the answer.
	Window bool
	// Drains is the number of drains that must have Sessions complete sessions, and Records the number
	// of records that Drain must have, before the witness answers.
	Drains, Sessions int
	Drain            string
	Records          int
}

// Observation is the answer of a witness.
type Observation struct {
	Drains    map[string]Tally
	Processor time.Duration // CPU time that the witness has used
}

// StartWitness starts a witness.
func StartWitness(ctx context.Context, setup WitnessSetup) (*Witness, error) {
	w := new(Witness)
	var err error
	w.Child, err = process.StartChild(ctx, "witness", setup, w)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Query sends a question and waits for the answer.
func (w *Witness) Query(q WitnessQuestion) (got Observation, err error) { return got, w.Ask(q, &got) }

// ledgers has the ledgers of a witness's drains.
type ledgers struct {
	setup WitnessSetup

	mu      sync.Mutex
	changed sync.Cond          // of mu: records have arrived
	drains  map[string]*ledger // guarded by mu
	up      map[string]bool    // guarded by mu: drains that have come up
}

// WitnessMain is the role of a witness.
func WitnessMain(in *json.Decoder, out *json.Encoder) error {
	l := &ledgers{drains: make(map[string]*ledger), up: make(map[string]bool)}
	l.changed.L = &l.mu
	if err := in.Decode(&l.setup); err != nil {
		return err
	}
	address, caFile, err := listen(l.setup.Protocol, l.setup.Dir, l)
	if err != nil {
		return err
	}
	if err := out.Encode(Witness{Address: address, CAFile: caFile}); err != nil {
		return err
	}
	return answerAll(in, out, l.answer)
}

func (l *ledgers) answer(q WitnessQuestion) Observation {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.Up != "" {
		l.up[q.Up] = true
	}
	for !l.have(q) {
		l.changed.Wait()
	}
	got := Observation{Drains: make(map[string]Tally), Processor: process.CPUTime()}
	for name, ledger := range l.drains {
		t := ledger.Tally
		if q.Window {
			t.Latency = ledger.window()
		}
		got.Drains[name] = t
	}
	return got
}

// have reports whether the records that a question waits for have arrived. mu is held.
func (l *ledgers) have(q WitnessQuestion) bool {
	whole := 0
	for _, ledger := range l.drains {
		if ledger.Ended >= q.Sessions {
			whole++
		}
	}
	return whole >= q.Drains && (q.Drain == "" || l.drains[q.Drain] != nil && l.drains[q.Drain].Records >= q.Records)
}

// take adds records of a drain that arrived at the time now.
func (l *ledgers) take(drain string, now time.Time, records ...arrival) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.changed.Broadcast()
	of := l.drains[drain]
	if of == nil {
		of = newLedger(l.setup.Latency && drain != l.setup.Down)
		l.drains[drain] = of
	}
	for _, r := range records {
		if err := of.add(r, now); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP takes the records of a request, one per line.
func (l *ledgers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	drain := strings.Trim(r.URL.Path, "/")
	l.mu.Lock()
	down := drain == l.setup.Down && drain != "" && !l.up[drain]
	l.mu.Unlock()
	if down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(r.Body); err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	now := time.Now()
	var records []arrival // alias the body
	for line := range bytes.Lines(body.Bytes()) {
		a, err := readJSON(line)
		if err != nil {
			l.refuse(w, err)
			return
		}
		records = append(records, a)
	}
	if err := l.take(drain, now, records...); err != nil {
		l.refuse(w, err)
	}
}

// refuse rejects a request permanently. Its records become dead letters, and the run fails.
func (l *ledgers) refuse(w http.ResponseWriter, err error) {
	fmt.Fprintln(os.Stderr, "bench, witness:", err)
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// readFrames takes the frames of a connection until it ends.
func (l *ledgers) readFrames(r *bufio.Reader) error {
	for {
		message, err := nextFrame(r)
		if err != nil {
			return err
		}
		a, err := readSyslog(message)
		if err != nil {
			return err
		}
		if err := l.take("syslog", time.Now(), a); err != nil {
			return err
		}
	}
}
