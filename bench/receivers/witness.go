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

// A witness is a receiver that looks at each record: whether every one of a session is there, in
// order and once, and how long ago it was shown. It is for several drains, which a URL's path tells
// apart; those of syslog are one.
type Witness struct {
	*process.Child `json:"-"`
	// Address is host and port.
	Address string
	// CAFile has the authority of its certificate.
	CAFile string
}

// witnessSetup says what a witness is to be.
type WitnessSetup struct {
	// Protocol is "https" (one JSON object a line; answers 200) or "syslog" (octet counting, RFC 6587
	// §3.4.1).
	Protocol string
	// Dir is where its certificates are.
	Dir string
	// Latency has it keep how long each record took, but of those of Down, which took as long as that
	// was.
	Latency bool
	// Down is a drain that takes nothing and answers 503 until it is asked to come up.
	Down string
}

// A witnessQuestion is what a witness is asked; all of it at once, in this order.
type WitnessQuestion struct {
	// Up is a drain that takes records from now on.
	Up string
	// Window begins to keep anew how long records take, after what was kept is in the answer.
	Window bool
	// Drains must have Sessions sessions to their end, each of them, and Drain as many Records, before
	// there is an answer.
	Drains, Sessions int
	Drain            string
	Records          int
}

// witnessed is a witness's answer.
type Witnessed struct {
	Drains    map[string]Tally
	Processor time.Duration // that the witness has used
}

func StartWitness(ctx context.Context, setup WitnessSetup) (*Witness, error) {
	w := new(Witness)
	var err error
	w.Child, err = process.StartChild(ctx, "witness", setup, w)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// asks asks the witness, and waits for what is asked for.
func (w *Witness) Query(q WitnessQuestion) (got Witnessed, err error) { return got, w.Ask(q, &got) }

// A ledgers is the ledgers of a witness's drains.
type ledgers struct {
	setup WitnessSetup

	mu      sync.Mutex
	changed sync.Cond          // of mu: something has arrived
	drains  map[string]*ledger // guarded by mu
	up      map[string]bool    // guarded by mu: drains that were down and are not any more
}

// witnessMain is the process.
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
	for {
		var q WitnessQuestion
		if err := in.Decode(&q); err != nil {
			return err
		}
		if err := out.Encode(l.answer(q)); err != nil {
			return err
		}
	}
}

func (l *ledgers) answer(q WitnessQuestion) Witnessed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.Up != "" {
		l.up[q.Up] = true
	}
	for !l.have(q) {
		l.changed.Wait()
	}
	got := Witnessed{Drains: make(map[string]Tally), Processor: process.CPUTime()}
	for name, ledger := range l.drains {
		t := ledger.Tally
		if q.Window {
			t.Latency = ledger.window()
		}
		got.Drains[name] = t
	}
	return got
}

// have says whether what a question waits for is there. mu is held.
func (l *ledgers) have(q WitnessQuestion) bool {
	whole := 0
	for _, ledger := range l.drains {
		if ledger.Ended >= q.Sessions {
			whole++
		}
	}
	return whole >= q.Drains && (q.Drain == "" || l.drains[q.Drain] != nil && l.drains[q.Drain].Records >= q.Records)
}

// take takes records of a drain, which came at a time.
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

// ServeHTTP takes the records of a request, one on each line.
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
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	now := time.Now()
	var records []arrival // which alias the body
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

// refuse refuses a request for ever, which ends as a dead letter and a number of records that is
// not exact.
func (l *ledgers) refuse(w http.ResponseWriter, err error) {
	fmt.Fprintln(os.Stderr, "bench, witness:", err)
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// readFrames takes the frames of a connection to its end.
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
