package receive

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func (b *bench) url() string { return "https://" + b.HTTPSAddr().String() + "/logs" }

// post sends a body and returns the status and the response.
func (b *bench) post(contentType string, body []byte, change ...func(*http.Request)) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodPost, b.url(), bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for _, f := range change {
		f(req)
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(answer), res.Header
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func zip(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func object(sequence int) string {
	return fmt.Sprintf(`{"operation_id":"7","sequence":%d,"event":"output","text":"line %d"}`, sequence, sequence)
}

func TestHTTPSFormats(t *testing.T) {
	b := start(t, Options{})
	three := []string{object(1), object(2), object(3)}
	for _, test := range []struct {
		name, contentType, body string
		want                    []string
	}{
		{"one object", "application/json", object(1), three[:1]},
		{"one object with space around", "application/json; charset=UTF-8", "\r\n " + object(1) + "\n", three[:1]},
		{"an array", "application/json", "[" + strings.Join(three, ",") + "]", three},
		{"an array with space", "Application/JSON", "\n[ " + strings.Join(three, " ,\n") + " ] ", three},
		{"an empty array", "application/json", "[]", nil},
		{"NDJSON", "application/x-ndjson", strings.Join(three, "\n") + "\n", three},
		{"NDJSON without the last newline", "application/x-ndjson", strings.Join(three, "\n"), three},
		{"NDJSON with CRLF and empty lines", "application/x-ndjson", strings.Join(three, "\r\n\r\n") + "\r\n", three},
		{"empty NDJSON", "application/x-ndjson", "", nil},
		{"NDJSON by other names", "application/jsonl", three[0], three[:1]},
		{"something else", "application/json", `{"hello":"world"}`, []string{`{"hello":"world"}`}},
	} {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", test.name, zipped), func(t *testing.T) {
				var status int
				var answer string
				if zipped {
					status, answer, _ = b.post(test.contentType, zip(t, []byte(test.body)), header("Content-Encoding", "gzip"))
				} else {
					status, answer, _ = b.post(test.contentType, []byte(test.body))
				}
				if want := fmt.Sprintf("{\"received\":%d}\n", len(test.want)); status != 200 || answer != want {
					t.Errorf("%d %q, want 200 %q", status, answer, want)
				}
				for i, want := range test.want {
					got := b.next()
					if string(got.Raw) != want || got.Drain != HTTPS || got.Syslog != nil || got.Repeat || got.At.IsZero() || got.Peer == "" {
						t.Errorf("got %+v with %s, want %s", got, got.Raw, want)
					}
					if strings.Contains(want, "operation_id") && (got.Record.OperationID != "7" || got.Record.Sequence != uint64(i)+1 || got.Record.Text != fmt.Sprintf("line %d", i+1)) {
						t.Errorf("decoded %+v", got.Record)
					}
				}
				b.none()
			})
		}
	}
}

func TestHTTPSRefuses(t *testing.T) {
	const secret = "hunter2"
	b := start(t, Options{MaxBody: 1000})
	large := `{"text":"` + secret + strings.Repeat("x", 1000) + `"}`
	good := object(1)
	for _, test := range []struct {
		name, contentType, body string
		change                  func(*http.Request)
		status                  int
		reason                  string
	}{
		{"no type", "", good, nil, 415, "Content-Type must be"},
		{"another type", "text/plain", good, nil, 415, "Content-Type must be"},
		{"another charset", "application/json; charset=latin1", good, nil, 415, "charset must be UTF-8"},
		{"another encoding", "application/json", good, header("Content-Encoding", "br"), 415, "Content-Encoding must be gzip"},
		{"not gzip", "application/json", good, header("Content-Encoding", "gzip"), 400, "not gzip"},
		{"gzip cut short", "application/json", string(zip(t, []byte(good))[:30]), header("Content-Encoding", "gzip"), 400, "could not be read"},
		{"gzip cut in its header", "application/json", string(zip(t, []byte(good))[:5]), header("Content-Encoding", "gzip"), 400, "could not be read"},
		{"gzip damaged", "application/json", string(zip(t, []byte(good))[:60]) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", header("Content-Encoding", "gzip"), 400, ""},
		{"too large", "application/json", large, nil, 413, "more than 1000 bytes"},
		{"too large unpacked", "application/json", string(zip(t, []byte(large))), header("Content-Encoding", "gzip"), 413, "more than 1000 bytes"},
		{"too large without a length", "application/json", large, func(r *http.Request) { r.ContentLength = -1 }, 413, "more than 1000 bytes"},
		{"empty", "application/json", "", nil, 400, "the body: not a JSON object"},
		{"not JSON", "application/json", "{" + secret + "}", nil, 400, "the body: not JSON: at byte 2"},
		{"not UTF-8", "application/json", "{\"text\":\"\xff\"}", nil, 400, "not UTF-8"},
		{"cut short", "application/json", good[:20], nil, 400, "the body: not JSON"},
		{"two objects", "application/json", good + good, nil, 400, "the body: not JSON"},
		{"lines", "application/json", good + "\n" + good, nil, 400, "the body: not JSON"},
		{"a string", "application/json", `"` + secret + `"`, nil, 400, "not a JSON object"},
		{"null", "application/json", "null", nil, 400, "not a JSON object"},
		{"an array of numbers", "application/json", "[1]", nil, 400, "element 0: not a JSON object"},
		{"an array in an array", "application/json", "[" + good + ",[" + good + "]]", nil, 400, "element 1: not a JSON object"},
		{"an array cut short", "application/json", "[" + good, nil, 400, "the body: not JSON"},
		{"an array and trailing data", "application/json", "[" + good + "]x", nil, 400, "the body: not JSON"},
		{"a bad line", "application/x-ndjson", good + "\n\n" + secret + "\n", nil, 400, "line 3: not a JSON object"},
		{"two objects on a line", "application/x-ndjson", good + good, nil, 400, "line 1: not JSON"},
		{"an array as NDJSON", "application/x-ndjson", "[" + good + "]", nil, 400, "line 1: not a JSON object"},
		{"a field of another type", "application/json", `{"sequence":"` + secret + `"}`, nil, 400, `the field \"sequence\" has the wrong type`},
		{"a malformed time", "application/json", `{"@timestamp":"` + secret + `"}`, nil, 400, "wrong format"},
		{"malformed base64", "application/json", `{"log_base64":"%` + secret + `"}`, nil, 400, "wrong format"},
		{"GET", "application/json", "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "by POST"},
	} {
		t.Run(test.name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*http.Request) {}
			}
			status, answer, _ := b.post(test.contentType, []byte(test.body), change)
			if status != test.status || !strings.Contains(answer, test.reason) {
				t.Errorf("%d %s, want %d %q", status, answer, test.status, test.reason)
			}
			if strings.Contains(answer, secret) {
				t.Errorf("quotes the request: %s", answer)
			}
			if !json.Valid([]byte(answer)) {
				t.Errorf("not JSON: %s", answer)
			}
			b.none() // all or none
		})
	}
	if log := b.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "the body: not JSON: at byte 2") {
		t.Errorf("log: %s", log)
	}
	if status, _, _ := b.post("application/json", []byte(good)); status != 200 {
		t.Errorf("%d afterwards", status)
	}
}

func TestHTTPSProbe(t *testing.T) {
	b := start(t, Options{Token: "t0ken"})
	head := func(r *http.Request) { r.Method = http.MethodHead }
	if status, _, _ := b.post("", nil, head, header("Authorization", "Bearer t0ken")); status != 200 {
		t.Errorf("%d, want 200", status)
	}
	if status, _, _ := b.post("", nil, head); status != 401 {
		t.Errorf("without the token: %d, want 401", status)
	}
	b.none()
}

func TestHTTPSBodyLimit(t *testing.T) {
	body := []byte(object(1))
	b := start(t, Options{MaxBody: int64(len(body))})
	if status, answer, _ := b.post("application/json", body); status != 200 {
		t.Errorf("a body of just that size: %d %s", status, answer)
	}
	if status, _, _ := b.post("application/json", append(body, ' ')); status != 413 {
		t.Errorf("a byte more: %d", status)
	}
}

func TestHTTPSCredentials(t *testing.T) {
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, test := range []struct {
		name        string
		o           Options
		change      func(*http.Request)
		status      int
		challenging []string
	}{
		{"none needed", Options{}, header("Authorization", "Bearer x"), 200, nil},
		{"token", Options{Token: "t0ken"}, header("Authorization", "Bearer t0ken"), 200, nil},
		{"token, other case of the scheme", Options{Token: "t0ken"}, header("Authorization", "bearer t0ken"), 200, nil},
		{"no token", Options{Token: "t0ken"}, header("X", "y"), 401, []string{`Bearer realm="ttydrain"`}},
		{"empty token", Options{Token: "t0ken"}, header("Authorization", "Bearer "), 401, []string{`Bearer realm="ttydrain"`}},
		{"another token", Options{Token: "t0ken"}, header("Authorization", "Bearer t0ken2"), 401, []string{`Bearer realm="ttydrain"`}},
		{"token as a password", Options{Token: "t0ken"}, basic("", "t0ken"), 401, []string{`Bearer realm="ttydrain"`}},
		{"password", Options{User: "ada", Password: "pw"}, basic("ada", "pw"), 200, nil},
		{"another password", Options{User: "ada", Password: "pw"}, basic("ada", "pw2"), 401, []string{`Basic realm="ttydrain", charset="UTF-8"`}},
		{"another user", Options{User: "ada", Password: "pw"}, basic("eve", "pw"), 401, []string{`Basic realm="ttydrain", charset="UTF-8"`}},
		{"either", Options{Token: "t0ken", User: "ada", Password: "pw"}, basic("ada", "pw"), 200, nil},
		{"neither", Options{Token: "t0ken", User: "ada", Password: "pw"}, basic("ada", "t0ken"), 401, []string{`Bearer realm="ttydrain"`, `Basic realm="ttydrain", charset="UTF-8"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, test.o)
			status, _, head := b.post("application/json", []byte(object(1)), test.change)
			if got := head.Values("WWW-Authenticate"); status != test.status || !slices.Equal(got, test.challenging) {
				t.Errorf("%d %q, want %d %q", status, got, test.status, test.challenging)
			}
			if log := b.log.String(); strings.Contains(log, "t0ken") || strings.Contains(log, "pw") {
				t.Errorf("a secret is logged: %s", log)
			}
			if status == 200 {
				b.next()
			}
			b.none()
		})
	}
}

func TestHTTPSRepeats(t *testing.T) {
	b := start(t, Options{RememberKeys: 2})
	for i, test := range []struct {
		key    string
		repeat bool
	}{{"a", false}, {"a", true}, {"b", false}, {"a", true}, {"c", false}, {"a", false}, {"c", true}, {"b", false}, {"", false}, {"", false}} {
		b.post("application/x-ndjson", []byte(object(1)+"\n"+object(2)), header("Idempotency-Key", test.key))
		for range 2 {
			if got := b.next(); got.Repeat != test.repeat {
				t.Errorf("request %d with key %q: repeat is %t", i, test.key, got.Repeat)
			}
		}
	}
	// A request that was refused has not come.
	b.post("application/json", []byte("{"), header("Idempotency-Key", "d"))
	b.post("application/json", []byte(object(1)), header("Idempotency-Key", "d"))
	if b.next().Repeat {
		t.Error("a refused request counts as received")
	}
}

// TestRecordHasEveryField checks that Record decodes all that schema.Encoder writes, and that Exact
// returns the original bytes.
func TestRecordHasEveryField(t *testing.T) {
	yes, status, n := true, 3, uint64(42)
	op := &schema.Operation{ID: "7", Stack: "s", App: "a", AppID: "i", Service: "v", Layer: "app", Host: "h", Container: "c",
		User: schema.User{ID: "u", Name: "Ada", Email: "ada@example.com"}, UserDocument: "a.b.c"}
	r := &schema.Record{Event: schema.EventEnd, Partial: true, Sequence: 9, Offset: 11, Time: 1_772_357_400_000_000_001,
		Log: []byte("x\xff\n"), Text: []byte("x\ufffd"), Timing: []byte("0:3"),
		Detail: &schema.Detail{Command: "ls", Interactive: &yes, Width: 80, Height: 24, ExitStatus: &status, Reason: "exit", Bytes: &n, Signature: "d.e.f"}}
	var e schema.Encoder
	data, err := e.AppendRecord(nil, op, r)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var got Record
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	at := time.Unix(0, r.Time).UTC()
	want := Record{Timestamp: at, Version: "1", Type: "json", Time: at, Log: "x\ufffd\n", LogBase64: r.Log, Stream: "stdout", Offset: "11",
		File: "operations/7", Host: "h", Layer: "app", Service: "v", Stack: "s", App: "a", AppID: "i", Source: "ssh", Container: "c",
		OperationID: "7", OperationUserName: "Ada", OperationUserEmail: "ada@example.com", UserDocument: "a.b.c", Event: "end", Sequence: 9,
		Text: "x\ufffd", Digest: strings.Repeat("0", 64), Timing: "0:3", Partial: true, Command: "ls", Interactive: &yes, Width: 80, Height: 24,
		ExitStatus: &status, Reason: "exit", Bytes: &n, Signature: "d.e.f"}
	if g, w := fmt.Sprintf("%+v", dereferenced(got)), fmt.Sprintf("%+v", dereferenced(want)); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	if !bytes.Equal(got.Exact(), r.Log) {
		t.Errorf("the exact bytes are %q", got.Exact())
	}
	if exact := (&Record{Log: "plain\n"}).Exact(); string(exact) != "plain\n" {
		t.Errorf("the exact bytes are %q", exact)
	}
}

// dereferenced returns a printable copy of a record with values instead of pointers.
func dereferenced(r Record) any {
	pointed := fmt.Sprint(*r.Interactive, *r.ExitStatus, *r.Bytes)
	r.Interactive, r.ExitStatus, r.Bytes = nil, nil, nil
	return struct {
		Record
		pointed string
	}{r, pointed}
}

func TestHTTPSConcurrent(t *testing.T) {
	const clients, requests, lines = 8, 20, 3
	b := start(t, Options{})
	var sending sync.WaitGroup
	for c := range clients {
		sending.Go(func() {
			for i := range requests {
				var body strings.Builder
				for j := range lines {
					fmt.Fprintf(&body, "{\"operation_id\":\"%d\",\"sequence\":%d}\n", c, i*lines+j+1)
				}
				req, err := http.NewRequest(http.MethodPost, b.url(), strings.NewReader(body.String()))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/x-ndjson")
				res, err := b.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					t.Errorf("status %d", res.StatusCode)
				}
			}
		})
	}
	sending.Wait()
	last := make(map[string]uint64)
	var before Received
	for i := range clients * requests * lines {
		got := b.next()
		if got.Record.Sequence != last[got.Record.OperationID]+1 {
			t.Fatalf("operation %s: %d after %d", got.Record.OperationID, got.Record.Sequence, last[got.Record.OperationID])
		}
		last[got.Record.OperationID] = got.Record.Sequence
		if i%lines != 0 && got.Record.OperationID != before.Record.OperationID {
			t.Fatal("records of two requests are mixed")
		}
		if got.At.Before(before.At) {
			t.Fatal("times go back")
		}
		before = got
	}
	b.none()
}

// TestHTTPSStopFinishes checks that a request in progress is finished and answered during the stop.
func TestHTTPSStopFinishes(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	b := start(t, Options{Grace: patience, Handle: func(Received) {
		close(entered)
		<-leave
	}})
	status := make(chan int, 1)
	go func() { // ends when the request is answered
		s, _, _ := b.post("application/json", []byte(object(1)))
		status <- s
	}()
	<-entered
	b.stop()
	close(leave)
	if got := <-status; got != 200 {
		t.Errorf("status %d", got)
	}
	if err := b.wait(); err != nil {
		t.Error(err)
	}
	if _, err := b.client.Get(b.url()); err == nil {
		t.Error("takes requests after the stop")
	}
}

// TestHTTPSStopForces checks that a client that never finishes does not block the stop.
func TestHTTPSStopForces(t *testing.T) {
	b := start(t, Options{Grace: time.Millisecond})
	body, send := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, b.url(), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	failed := make(chan error, 1)
	go func() { // ends when the receiver closes the connection
		res, err := b.client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	if _, err := send.Write([]byte("{")); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := b.wait(); err != nil {
		t.Error(err)
	}
	send.CloseWithError(io.ErrClosedPipe)
	<-failed
	b.none()
}
