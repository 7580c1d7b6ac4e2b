package receivers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/bench/process"
)

// Main is the role of a receiver.
func Main(in *json.Decoder, out *json.Encoder) error {
	var setup Setup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	c := &counter{setup: setup}
	c.changed.L = &c.mu
	if setup.Keep != "" {
		var err error
		if c.keep, err = os.Create(setup.Keep); err != nil {
			return err
		}
	}
	address, caFile, err := listen(setup.Protocol, setup.Dir, c)
	if err != nil {
		return err
	}
	if err := out.Encode(Receiver{Address: address, CAFile: caFile}); err != nil {
		return err
	}
	return answerAll(in, out, c.answer)
}

// answerAll answers the questions of the parent process until one cannot be read.
func answerAll[Question, Answer any](in *json.Decoder, out *json.Encoder, answer func(Question) Answer) error {
	for {
		var q Question
		if err := in.Decode(&q); err != nil {
			return err
		}
		if err := out.Encode(answer(q)); err != nil {
			return err
		}
	}
}

// A counter counts records.
type counter struct {
	setup Setup
	keep  *os.File // setup.Keep, or nil; used by one connection at a time

	mu      sync.Mutex
	changed sync.Cond     // of mu: ready has become true, or the sender has stalled
	got     Counts        // guarded by mu; without Processor
	before  time.Duration // guarded by mu: CPU time at the last askBegin
	// ready reports whether wait may return; nil while no wait is in progress. Guarded by mu.
	ready func() bool
}

// Patience is the time without a record after which a sender counts as stalled.
const Patience = 30 * time.Second

func (c *counter) answer(q question) Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch q.Do {
	case askBegin:
		c.got, c.before = Counts{}, process.CPUTime()
	case askFirst:
		c.wait(func() bool { return c.got.Records > 0 })
	case askAwait:
		c.wait(func() bool { return c.got.Sessions >= q.Sessions && c.got.Records >= c.got.Ends })
	}
	got := c.got
	got.Processor = process.CPUTime() - c.before
	return got
}

// wait waits until ready returns true or the sender has stalled. mu is held.
func (c *counter) wait(ready func() bool) {
	c.ready = ready
	defer func() { c.ready = nil }()
	stop := make(chan struct{})
	defer close(stop)
	stalled := false // guarded by mu
	go func() {      // ends with wait
		tick := time.NewTicker(Patience)
		defer tick.Stop()
		for before := -1; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			c.mu.Lock()
			if c.got.Records == before {
				stalled = true
				c.changed.Broadcast()
			}
			before = c.got.Records
			c.mu.Unlock()
		}
	}()
	for !ready() && !stalled {
		c.changed.Wait()
	}
}

func (c *counter) add(n Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Records += n.Records
	c.got.Sessions += n.Sessions
	c.got.Ends += n.Ends
	c.got.Shown += n.Shown
	c.got.Bytes += n.Bytes
	if c.ready != nil && c.ready() {
		c.changed.Broadcast()
	}
}

// end counts the last record of a session, in which a number follows each of two marks.
func (n *Counts) end(record []byte, sequence, shown string) {
	n.Sessions++
	n.Ends += int(numberAfter(record, sequence))
	n.Shown += numberAfter(record, shown)
}

// numberAfter returns the number that follows a mark, or 0.
func numberAfter(b []byte, mark string) (number int64) {
	_, rest, _ := bytes.Cut(b, []byte(mark))
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		number = 10*number + int64(c-'0')
	}
	return number
}

// bodies has buffers for request bodies.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// ServeHTTP counts the records of a request.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(r.Body); err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	b := body.Bytes()
	unit, last := []byte(c.setup.Unit), []byte(c.setup.Last)
	n := Counts{Records: bytes.Count(b, unit), Bytes: int64(len(b))}
	for from := 0; ; {
		at := bytes.Index(b[from:], last)
		if at < 0 {
			break
		}
		at += from
		from = at + len(last)
		// Other programs write the fields in another order.
		record := b[max(0, bytes.LastIndex(b[:at], unit)):]
		if next := bytes.Index(record[len(unit):], unit); next >= 0 {
			record = record[:len(unit)+next]
		}
		n.end(record, `"sequence":`, `"bytes":`)
	}
	c.add(n)
}

// readFrames counts the frames of a connection until it ends. It adds them to the counts whenever
// it is about to wait for more.
func (c *counter) readFrames(r *bufio.Reader) error {
	last := []byte(c.setup.Last)
	var kept *bufio.Writer
	if c.keep != nil {
		kept = bufio.NewWriter(c.keep)
	}
	var n Counts
	for {
		if r.Buffered() == 0 {
			if kept != nil {
				if err := kept.Flush(); err != nil {
					return err
				}
			}
			c.add(n)
			n = Counts{}
		}
		message, err := nextFrame(r)
		if err != nil {
			c.add(n)
			return err
		}
		if bytes.Contains(message[:min(len(message), 256)], last) {
			n.end(message, ` sequence="`, ` bytes="`)
		}
		if kept != nil {
			kept.Write(message)
			kept.WriteByte('\n') // Flush returns the error
		}
		n.Records++
		n.Bytes += int64(len(message))
	}
}
