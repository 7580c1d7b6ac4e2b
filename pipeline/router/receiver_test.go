package router

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// reset, as the status of an answer, resets the connection; cut closes it without an answer; hang
// never answers.
const (
	reset = -1 - iota
	cut
	hang
)

// A receiver is an HTTPS server that answers each request with the status that answer gives, and
// keeps the records of those that it accepts.
type receiver struct {
	server *httptest.Server
	ca     string

	mu       sync.Mutex // guards what follows
	answer   func(body []byte) int
	header   http.Header // of each answer
	records  []received  // in their order
	requests int
}

type received struct {
	Operation string `json:"operation_id"`
	Sequence  uint64 `json:"sequence"`
	Event     string `json:"event"`
	Log       string `json:"log"`
}

func newReceiver(t testing.TB, answer func(body []byte) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	r.ca = authority.File
	r.server = httptest.NewUnstartedServer(r)
	r.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // a return is an answer of 200, which the client may still read
	}
	r.mu.Lock()
	r.requests++
	status := r.answer(body)
	if status/100 == 2 {
		for line := range bytes.Lines(body) {
			var one received
			if err := json.Unmarshal(line, &one); err != nil {
				panic(err)
			}
			r.records = append(r.records, one)
		}
	}
	r.mu.Unlock()
	switch status {
	case reset, cut:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		if tcp, ok := conn.(*tls.Conn).NetConn().(*net.TCPConn); ok && status == reset {
			tcp.SetLinger(0)
			tcp.Close()
			return
		}
		conn.Close()
	case hang:
		<-request.Context().Done()
		panic(http.ErrAbortHandler)
	default:
		if status/100 == 3 {
			w.Header().Set("Location", "https://127.0.0.1/blocked")
		}
		maps.Copy(w.Header(), r.header)
		w.WriteHeader(status)
	}
}

// count returns the number of requests.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// set changes the answers.
func (r *receiver) set(answer func(body []byte) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// of returns the records of an operation, in the order in which the receiver accepted them.
func (r *receiver) of(op *schema.Operation) (records []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.records {
		if one.Operation == op.ID {
			records = append(records, one)
		}
	}
	return records
}

// ended reports whether the last record of an operation has arrived.
func (r *receiver) ended(op *schema.Operation) bool {
	records := r.of(op)
	return len(records) > 0 && records[len(records)-1].Event == "end"
}

// mustHave fails the test unless the receiver has each record of an operation once and in order,
// except those in missing.
func (r *receiver) mustHave(t testing.TB, op *schema.Operation, missing map[uint64]bool) {
	t.Helper()
	next := uint64(1)
	for _, one := range r.of(op) {
		for missing[next] {
			next++
		}
		if one.Sequence != next {
			t.Fatalf("operation %s: record %d came where %d was due", op.ID, one.Sequence, next)
		}
		next++
	}
	if !r.ended(op) {
		t.Fatalf("operation %s has no end", op.ID)
	}
}

// drain returns a drain that writes to the receiver.
func (r *receiver) drain(name string, format https.Format, timeout time.Duration) drain.Drain {
	return drain.Drain{
		Name: name, Writers: 4, Alone: format == https.JSON, BatchRecords: 5000, BatchBytes: 4 << 20, Timeout: timeout,
		Open: func() (sinks.Sink, error) {
			return https.New(https.Options{URL: r.server.URL + "/logs", Format: format, Timeout: timeout, TLS: sinks.TLS{CAFile: r.ca}})
		},
	}
}

// converseWith is converse for a session of a user and a command.
func (g *rig) converseWith(user, command string) *conversation {
	g.t.Helper()
	doc, err := document(g.key)(schema.User{ID: "u-1"})
	if err != nil {
		g.t.Fatal(err)
	}
	c := &conversation{g: g, op: &schema.Operation{App: "web", Stack: "default", User: schema.User{ID: "u-1", Name: user}, Command: command, UserDocument: doc, Started: time.Now()}}
	if err := g.bus.CreateOperation(g.t.Context(), c.op); err != nil {
		g.t.Fatal(err)
	}
	start, err := schema.StartFrame(time.Now(), c.op)
	if err != nil {
		g.t.Fatal(err)
	}
	c.publish(start)
	return c
}

// letters returns the sequences of the dead letters of a drain, by operation.
func letters(t testing.TB, o *operate.Operator, drain string) map[string]map[uint64]bool {
	t.Helper()
	list, err := o.DeadLetters(t.Context(), operate.LetterFilter{Drain: drain}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[uint64]bool)
	for _, l := range list {
		if all[l.Operation] == nil {
			all[l.Operation] = make(map[uint64]bool)
		}
		all[l.Operation][l.Sequence] = true
	}
	return all
}

// refusing returns a function that answers with a status if the body has a text.
func refusing(text string, status int) func([]byte) int {
	return func(body []byte) int {
		if bytes.Contains(body, []byte(text)) {
			return status
		}
		return http.StatusOK
	}
}
