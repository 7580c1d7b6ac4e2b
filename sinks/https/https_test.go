package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

var update = flag.Bool("update", false, "write the golden files of formats that have none yet")

// golden are two operations' records, fixed for ever.
func golden() []sinks.Entry {
	ada := &schema.Operation{ID: "1041", Stack: "default", App: "web", AppID: "7", Service: "web-ssh", Layer: "app",
		Host: "gateway-1", Container: "s-1041", User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
		UserDocument: "eyJhbGciOiJFUzI1NiJ9.eyJpZCI6InUtMSJ9.c2ln"}
	zoe := &schema.Operation{ID: "1042", Stack: "default", App: "worker", AppID: "8", Service: "worker-ssh", Layer: "app",
		Host: "gateway-1", Container: "s-1042", User: schema.User{ID: "u-3", Name: "Zoë", Email: "zoe@example.com"},
		UserDocument: "eyJhbGciOiJFUzI1NiJ9.eyJpZCI6InUtMyJ9.c2ln"}
	yes, status, total := true, 0, uint64(24)
	at := int64(1_773_500_966_535_897_932)
	return []sinks.Entry{
		{Operation: ada, Record: &schema.Record{Event: schema.EventStart, Sequence: 1, Time: at, Text: []byte("session 1041 started"),
			Detail: &schema.Detail{Interactive: &yes, Width: 80, Height: 24}}},
		{Operation: zoe, Record: &schema.Record{Sequence: 2, Time: at + 1, Log: []byte("bad \xff \x1b[31m\"red\"\x1b[0m\r\n"),
			Text: []byte("bad \ufffd \"red\""), Timing: []byte("0:24"), Digest: schema.Digest{1, 2, 3}}},
		{Operation: ada, Record: &schema.Record{Event: schema.EventEnd, Sequence: 2, Offset: 24, Time: at + 2, Text: []byte("session ended: exit status 0"),
			Detail: &schema.Detail{ExitStatus: &status, Reason: "exit", Bytes: &total, Signature: "eyJ.e30.c2ln"}}},
	}
}

func write(t *testing.T, s *Sink, batch []sinks.Entry) *sinks.Error {
	t.Helper()
	err := s.Write(t.Context(), batch)
	if err == nil {
		return nil
	}
	var e *sinks.Error
	if !errors.As(err, &e) {
		t.Fatalf("Write returned a %T: %v", err, err)
	}
	if e.Reason == "" {
		t.Fatalf("no Reason: %v", err)
	}
	return e
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
	}{
		{"json", Options{Concurrency: 1}},
		{"ndjson", Options{Format: NDJSON, Headers: http.Header{"authorization": {"Bearer abc"}, "X-Two": {"1", "2"}}}},
		{"array", Options{Format: Array, Headers: http.Header{"Content-Type": {"application/vnd.example+json"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrain(t, settings{http1: true})
			c.options.URL = "/logs/ssh?source=ttydrain"
			c.options.Version = "1.2.3"
			if e := write(t, d.sink(t, c.options), golden()); e != nil {
				t.Fatal(e)
			}
			var got bytes.Buffer
			for _, r := range d.posts() {
				fmt.Fprintf(&got, "%s %s\n", r.method, r.path)
				for _, name := range slices.Sorted(maps.Keys(r.header)) {
					for _, value := range r.header[name] {
						fmt.Fprintf(&got, "%s: %s\n", name, value)
					}
				}
				fmt.Fprintf(&got, "\n%s\n", r.body)
			}
			file := filepath.Join("testdata", c.name+".golden")
			want, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) && *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("%s:\ngot\n%s\nwant\n%s", file, got.String(), want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		status  int
		verdict sinks.Verdict
		reason  string
	}{
		{200, delivered, ""}, {201, delivered, ""}, {202, delivered, ""}, {204, delivered, ""}, {299, delivered, ""},
		{301, sinks.Misconfigured, "set url"}, {302, sinks.Misconfigured, "set url"}, {304, sinks.Misconfigured, "set url"},
		{307, sinks.Misconfigured, "set url"}, {308, sinks.Misconfigured, "set url"},
		{400, sinks.Rejected, "format"}, {401, sinks.Misconfigured, "credentials"}, {402, sinks.Misconfigured, "quota"},
		{403, sinks.Misconfigured, "permission"}, {404, sinks.Misconfigured, "correct url"}, {405, sinks.Misconfigured, "POST"},
		{407, sinks.Misconfigured, "HTTPS_PROXY"}, {408, sinks.Retry, "too long"}, {409, sinks.Rejected, "record"},
		{410, sinks.Gone, "remove it"}, {413, sinks.TooLarge, "max_request_bytes"}, {415, sinks.Misconfigured, "format"},
		{418, sinks.Rejected, "record"}, {422, sinks.Rejected, "record"}, {425, sinks.Retry, "pause"}, {429, sinks.Retry, "pause"},
		{431, sinks.Misconfigured, "headers"}, {499, sinks.Rejected, "record"},
		{500, sinks.Retry, "broken"}, {501, sinks.Retry, "broken"}, {502, sinks.Retry, "broken"}, {503, sinks.Retry, "broken"},
		{504, sinks.Retry, "broken"}, {507, sinks.Retry, "broken"}, {599, sinks.Retry, "broken"},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			for _, format := range []Format{JSON, NDJSON} {
				d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(c.status)
					if c.status != 204 && c.status != 304 {
						io.WriteString(w, "session content")
					}
				}})
				e := write(t, d.sink(t, Options{Format: format}), golden()[:1])
				if c.verdict == delivered {
					if e != nil {
						t.Fatal(e)
					}
					continue
				}
				if e == nil {
					t.Fatal("Write succeeded")
				}
				wait := time.Duration(0)
				if c.verdict == sinks.Retry {
					wait = 7 * time.Second
				}
				if e.Verdict != c.verdict || e.Status != c.status || e.RetryAfter != wait || len(e.Items) != 0 {
					t.Errorf("%v, status %d, retry after %v, %d items: want %v, %v", e.Verdict, e.Status, e.RetryAfter, len(e.Items), c.verdict, wait)
				}
				host := d.server.Listener.Addr().String()
				if !strings.HasPrefix(e.Reason, fmt.Sprintf("%s answered %d", host, c.status)) || !strings.Contains(e.Reason, c.reason) {
					t.Errorf("Reason is %q, want …%s…", e.Reason, c.reason)
				}
				if strings.Contains(e.Error(), "content") {
					t.Errorf("%q quotes the drain", e)
				}
			}
		})
	}
}

func TestNoRedirect(t *testing.T) {
	other := newDrain(t, settings{})
	target := strings.Replace(other.server.URL, "https://", "https://user:s3cr3t@", 1) + "/s3cr3t?s3cr3t"
	for _, c := range []struct{ location, want string }{
		{target, other.server.Listener.Addr().String()},
		{"/elsewhere", "another path of the same host"},
		{"https://bad host/", "redirects are not followed"},
		{"https://s3cr3t_session_content!/", "redirects are not followed"},
	} {
		d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", c.location)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}})
		e := write(t, d.sink(t, Options{Headers: http.Header{"Authorization": {"Bearer s3cr3t"}}}), golden())
		if e == nil || e.Verdict != sinks.Misconfigured || !strings.Contains(e.Reason, c.want) || strings.Contains(e.Error(), "s3cr3t") {
			t.Errorf("%s: %v", c.location, e)
		}
	}
	if n := len(other.posts()); n > 0 {
		t.Errorf("%d requests were sent on to another host", n)
	}
}

func TestGzip(t *testing.T) {
	for _, format := range []Format{JSON, NDJSON, Array} {
		d := newDrain(t, settings{})
		s := d.sink(t, Options{Format: format, Gzip: true, MaxRequestBytes: 64 << 10})
		for seed := range uint64(3) { // the writers are used again
			if e := write(t, s, sinktest.Entries(seed, 200)); e != nil {
				t.Fatal(e)
			}
		}
		d.received(t, 600)
		for _, r := range d.posts() {
			if r.header.Get("Content-Encoding") != "gzip" || len(r.plain) > 2000 && len(r.body) > len(r.plain)/2 {
				t.Fatalf("%s: %d bytes as %d, Content-Encoding %q", format, len(r.plain), len(r.body), r.header.Get("Content-Encoding"))
			}
		}
	}
}

func TestSplit(t *testing.T) {
	batch := sinktest.Entries(5, 300)
	for _, format := range []Format{NDJSON, Array} {
		whole := newDrain(t, settings{})
		if e := write(t, whole.sink(t, Options{Format: format}), batch); e != nil {
			t.Fatal(e)
		}
		all := whole.posts()
		if len(all) != 1 {
			t.Fatalf("%s: %d requests", format, len(all))
		}
		size := len(all[0].plain)
		for _, c := range []struct{ limit, requests int }{{size, 1}, {size - 1, 2}, {64 << 10, 0}} {
			d := newDrain(t, settings{})
			if e := write(t, d.sink(t, Options{Format: format, MaxRequestBytes: c.limit}), batch); e != nil {
				t.Fatal(e)
			}
			if n := len(d.received(t, len(batch))); n != len(batch) {
				t.Fatalf("%s: %d records, want %d", format, n, len(batch))
			}
			posts := d.posts()
			keys := make(map[string]bool)
			for _, r := range posts {
				if len(r.plain) > c.limit {
					t.Errorf("%s: a request of %d bytes, the limit is %d", format, len(r.plain), c.limit)
				}
				keys[r.header.Get(idempotencyKey)] = true
			}
			if c.requests == 0 {
				c.requests = len(posts)
				if len(posts) < size/c.limit {
					t.Errorf("%s: %d requests of up to %d for %d bytes", format, len(posts), c.limit, size)
				}
			}
			if len(posts) != c.requests || len(keys) != len(posts) {
				t.Errorf("%s: %d requests with %d keys, want %d", format, len(posts), len(keys), c.requests)
			}
		}
	}
}

func TestRecordOverLimit(t *testing.T) {
	batch := sinktest.Entries(6, 20)
	long := *batch[7].Record
	long.Log = bytes.Repeat([]byte("x"), 8<<10)
	batch[7].Record = &long
	for _, format := range []Format{JSON, NDJSON, Array} {
		d := newDrain(t, settings{})
		e := write(t, d.sink(t, Options{Format: format, MaxRequestBytes: 8 << 10}), batch)
		if e == nil || e.Verdict != sinks.TooLarge || len(e.Items) == 0 {
			t.Fatalf("%s: %v", format, e)
		}
		item := e.Items[slices.IndexFunc(e.Items, func(i sinks.Item) bool { return i.Verdict != sinks.Retry })]
		if item.Index != 7 || item.Verdict != sinks.TooLarge || !strings.Contains(item.Reason, "raise max_request_bytes") {
			t.Errorf("%s: %+v", format, item)
		}
		checkRest(t, format, d, batch, e)
	}
}

// checkRest fails the test unless the drain holds exactly what is not among the error's items, and
// no operation's record that follows one that was not delivered.
func checkRest(t *testing.T, format Format, d *drain, batch []sinks.Entry, e *sinks.Error) {
	t.Helper()
	failed := make(map[int]bool)
	for _, item := range e.Items {
		failed[item.Index] = true
	}
	var want []string
	stopped := make(map[string]bool)
	for i, entry := range batch {
		if failed[i] {
			stopped[entry.Operation.ID] = true
			continue
		}
		if stopped[entry.Operation.ID] {
			t.Errorf("%s: entry %d overtook one of its operation", format, i)
		}
		want = append(want, fmt.Sprint(entry.Operation.ID, " ", entry.Record.Sequence))
	}
	var got []string
	for _, g := range d.received(t, len(want)) {
		got = append(got, fmt.Sprint(g.OperationID, " ", g.Sequence))
	}
	slices.Sort(want)
	slices.Sort(got)
	got = slices.Compact(got) // the drain keeps also what it refuses
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			t.Errorf("%s: record %s is said to be delivered and is not", format, w)
		}
	}
}

// TestPartOfBatch fails one request in the middle.
func TestPartOfBatch(t *testing.T) {
	for _, status := range []int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable} {
		for _, format := range []Format{JSON, NDJSON} {
			t.Run(fmt.Sprint(format, " ", status), func(t *testing.T) {
				batch := sinktest.Entries(8, 200)
				const bad = 90
				poison := fmt.Sprintf(`"operation_id":%q`, batch[bad].Operation.ID)
				sequence := fmt.Sprintf(`"sequence":%d,`, batch[bad].Record.Sequence)
				d := newDrain(t, settings{handle: answerBad(t, func(plain []byte) bool {
					for line := range bytes.Lines(plain) {
						if bytes.Contains(line, []byte(poison)) && bytes.Contains(line, []byte(sequence)) {
							return true
						}
					}
					return false
				}, status)})
				e := write(t, d.sink(t, Options{Format: format, MaxRequestBytes: 40 << 10}), batch)
				if e == nil || e.Status != status || len(e.Items) == 0 || len(e.Items) == len(batch) {
					t.Fatalf("%+v", e)
				}
				checkRest(t, format, d, batch, e)
				found := false
				for n, item := range e.Items {
					if n > 0 && item.Index <= e.Items[n-1].Index {
						t.Fatal("items are not in order")
					}
					found = found || item.Index == bad && item.Status == status && item.Verdict == e.Verdict
					if item.Status == 0 && (item.Verdict != sinks.Retry || !strings.Contains(item.Reason, "not sent")) {
						t.Errorf("%+v", item)
					}
				}
				if !found {
					t.Errorf("entry %d is not among the items", bad)
				}
				if format == JSON && status == http.StatusUnprocessableEntity {
					for _, item := range e.Items {
						if batch[item.Index].Operation != batch[bad].Operation {
							t.Fatal("the records of another operation were held back")
						}
					}
				}
			})
		}
	}
}

// answerBad keeps all requests but the bad ones, which get the status.
func answerBad(t *testing.T, bad func(plain []byte) bool, status int) func(*drain, http.ResponseWriter, *http.Request) {
	return func(d *drain, w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if bad(body) {
			w.WriteHeader(status)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		d.keep(t, r)
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestStopsWhenDrainIsDown(t *testing.T) {
	d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }})
	var batch []sinks.Entry
	for seed := range uint64(100) {
		batch = append(batch, sinktest.Entries(seed, 5)...)
	}
	e := write(t, d.sink(t, Options{Concurrency: 4}), batch)
	if e == nil || e.Verdict != sinks.Retry || len(e.Items) != 0 {
		t.Fatalf("%+v", e)
	}
	if n := len(d.posts()); n > 4 {
		t.Errorf("%d requests to a drain that is down, want 4 at the most", n)
	}
}

func TestIdempotencyKey(t *testing.T) {
	for _, format := range []Format{JSON, NDJSON, Array} {
		d := newDrain(t, settings{})
		batch := sinktest.Entries(9, 100)
		for range 2 { // two sinks, as before and after a restart
			if e := write(t, d.sink(t, Options{Format: format, MaxRequestBytes: 32 << 10}), batch); e != nil {
				t.Fatal(e)
			}
		}
		bodies := make(map[string]string)
		count := make(map[string]int)
		for _, r := range d.posts() {
			key := r.header.Get(idempotencyKey)
			if before, ok := bodies[key]; ok && before != string(r.plain) || len(key) != 32 {
				t.Fatalf("%s: key %q has two bodies", format, key)
			}
			bodies[key] = string(r.plain)
			count[key]++
		}
		for key, n := range count {
			if n != 2 {
				t.Errorf("%s: key %s came %d times, want 2", format, key, n)
			}
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int32
	d := newDrain(t, settings{http1: true,
		answer: func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("a long answer"), 2000)) },
		state: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		}})
	s := d.sink(t, Options{Concurrency: 4})
	for seed := range uint64(20) {
		if e := write(t, s, sinktest.Entries(seed, 20)); e != nil {
			t.Fatal(e)
		}
	}
	// A connection that comes back late is replaced by a new one: allow for some.
	if n := connections.Load(); n > 40 {
		t.Errorf("%d connections for 400 requests, 4 at a time", n)
	}
}

func TestHTTP2AndBack(t *testing.T) {
	for _, http1 := range []bool{false, true} {
		var major atomic.Int32
		d := newDrain(t, settings{http1: http1, answer: func(w http.ResponseWriter, r *http.Request) { major.Store(int32(r.ProtoMajor)) }})
		if e := write(t, d.sink(t, Options{}), golden()); e != nil {
			t.Fatal(e)
		}
		if want := map[bool]int32{true: 1, false: 2}[http1]; major.Load() != want {
			t.Errorf("HTTP/%d, want HTTP/%d", major.Load(), want)
		}
	}
}

func TestTLS(t *testing.T) {
	other := sinktest.NewAuthority(t)
	var clients *sinktest.Authority
	demand := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool }
	clients = sinktest.NewAuthority(t)
	cert, key := clients.Issue(t, time.Now().Add(time.Hour))
	for _, c := range []struct {
		name     string
		settings settings
		tls      sinks.TLS
		want     string // "" for success
	}{
		{"own authority", settings{}, sinks.TLS{}, ""},
		{"wrong authority", settings{}, sinks.TLS{CAFile: other.File}, "ca_file"},
		{"wrong host name", settings{hosts: []string{"elsewhere.example.com"}}, sinks.TLS{}, "another host name"},
		{"server name", settings{hosts: []string{"elsewhere.example.com"}}, sinks.TLS{ServerName: "elsewhere.example.com"}, ""},
		{"expired", settings{until: time.Now().Add(-time.Second)}, sinks.TLS{}, "expired"},
		{"client certificate", settings{tls: demand}, sinks.TLS{CertFile: cert, KeyFile: key}, ""},
		{"no client certificate", settings{tls: demand}, sinks.TLS{}, "set cert_file and key_file"},
		{"no client certificate, HTTP 1.1", settings{tls: demand, http1: true}, sinks.TLS{}, "set cert_file and key_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrain(t, c.settings)
			s := d.sink(t, Options{TLS: c.tls})
			err := s.Probe(t.Context())
			e := write(t, s, golden())
			if c.want == "" {
				if err != nil || e != nil {
					t.Fatalf("Probe: %v, Write: %v", err, e)
				}
				return
			}
			probe := sinks.AsError(err)
			for what, e := range map[string]*sinks.Error{"Probe": probe, "Write": e} {
				if e == nil || e.Verdict != sinks.Misconfigured || !strings.Contains(e.Reason, c.want) {
					t.Errorf("%s: %v, want %v: …%s…", what, e, sinks.Misconfigured, c.want)
				}
			}
			if n := len(d.posts()); n > 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		status int
		want   sinks.Verdict
	}{
		{200, delivered}, {204, delivered}, {400, delivered}, {404, delivered}, {405, delivered}, {413, delivered}, {501, delivered},
		{301, sinks.Misconfigured}, {401, sinks.Misconfigured}, {403, sinks.Misconfigured}, {407, sinks.Misconfigured},
		{410, sinks.Gone}, {429, sinks.Retry}, {503, sinks.Retry},
	} {
		d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.status) }})
		err := d.sink(t, Options{Format: NDJSON, Gzip: true, Headers: http.Header{"Authorization": {"Bearer abc"}}}).Probe(t.Context())
		if (err == nil) != (c.want == delivered) || err != nil && (sinks.AsError(err).Verdict != c.want || sinks.AsError(err).Reason == "") {
			t.Errorf("%d: %v, want %v", c.status, err, c.want)
		}
		d.mu.Lock()
		for _, r := range d.requests {
			if r.method != http.MethodHead || len(r.body) > 0 || r.header.Get(idempotencyKey) != "" || r.header.Get("Content-Encoding") != "" || r.header.Get("Authorization") == "" {
				t.Errorf("%d: %s with %v", c.status, r.method, r.header)
			}
		}
		d.mu.Unlock()
	}
}

// TestSlow has drains that hang, at each point.
func TestSlow(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   bool // delivered
	}{
		{"no answer", func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // to return would answer 200
		}, false},
		{"answer without end", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, true},
	} {
		for _, http1 := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, ", HTTP 1.1: ", http1), func(t *testing.T) {
				d := newDrain(t, settings{http1: http1, answer: c.answer})
				e := write(t, d.sink(t, Options{Timeout: 300 * time.Millisecond}), golden()[:1])
				if c.want != (e == nil) {
					t.Fatal(e)
				}
				if e != nil && (e.Verdict != sinks.Retry || !strings.Contains(e.Reason, "no answer in time") || errors.Is(e, context.Canceled)) {
					t.Errorf("%v: %v", e.Verdict, e)
				}
			})
		}
	}
}

// TestCancelKeepsWhatArrived cancels after a part of the batch.
func TestCancelKeepsWhatArrived(t *testing.T) {
	batch := sinktest.Entries(10, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	d := newDrain(t, settings{handle: func(d *drain, w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		n := len(d.records)
		d.mu.Unlock()
		if n >= 50 {
			once.Do(cancel)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		d.keep(t, r)
	}})
	err := d.sink(t, Options{}).Write(ctx, batch)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	e := sinks.AsError(err)
	if len(e.Items) == 0 || len(e.Items) > 60 {
		t.Fatalf("%d of 100 entries not delivered", len(e.Items))
	}
	checkRest(t, JSON, d, batch, e)
}

// TestEarlyAnswer has a drain that answers before it has read the body, while the buffer is in use.
func TestEarlyAnswer(t *testing.T) {
	d := newDrain(t, settings{handle: func(d *drain, w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 100_000 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		d.keep(t, r)
	}})
	s := d.sink(t, Options{Format: NDJSON})
	for range 5 {
		if e := write(t, s, sinktest.Entries(11, 5000)); e == nil || e.Verdict != sinks.TooLarge {
			t.Fatalf("%+v", e)
		}
		if e := write(t, s, golden()); e != nil {
			t.Fatal(e)
		}
	}
	d.received(t, 15)
}

func TestNoSecretInErrors(t *testing.T) {
	const secret = "s3cr3t"
	headers := http.Header{"X-Token": {secret}}
	for _, raw := range []string{
		"http://u:" + secret + "@h/" + secret, "https://u:" + secret + "@h:port/", "https://u:" + secret + "@/", "ftp://" + secret, secret + ":%zz", "https://h/%zz" + secret,
	} {
		_, err := New(Options{URL: raw, Headers: headers})
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%v", err)
		}
	}
	_, err := New(Options{URL: "https://h/", Headers: http.Header{"X-Token": {secret + "\n"}}})
	if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "X-Token") {
		t.Error(err)
	}
	d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://u:p@"+r.Host+r.URL.String())
		w.WriteHeader(301)
	}})
	address := d.server.Listener.Addr().String()
	for _, target := range []string{address, "127.0.0.1:1", "host.invalid"} {
		s := d.sink(t, Options{URL: "https://user:" + secret + "@" + target + "/" + secret + "?token=" + secret, Headers: headers})
		for what, err := range map[string]error{"Probe": s.Probe(t.Context()), "Write": s.Write(t.Context(), golden())} {
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, sinks.AsError(err).Reason), secret) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if got := d.posts()[0].header.Get("Authorization"); got != "Basic dXNlcjpzM2NyM3Q=" {
		t.Errorf("Authorization is %q", got)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, "url is not set"},
		{Options{URL: "https://h/", Format: "yaml"}, `expected "json", "ndjson" or "array"`},
		{Options{URL: "https://h/", Timeout: -1}, "negative"},
		{Options{URL: "https://h/", Concurrency: -1}, "negative"},
		{Options{URL: "https://h/", MaxRequestBytes: -1}, "negative"},
		{Options{URL: "https://h/", Headers: http.Header{"content-length": {"1"}}}, "Content-Length is set by ttydrain itself"},
		{Options{URL: "https://h/", Headers: http.Header{"a b": {"1"}}}, `"a b" is not the name of a header`},
		{Options{URL: "https://h/", TLS: sinks.TLS{CAFile: "missing.pem"}}, "ca_file missing.pem does not exist"},
	} {
		if _, err := New(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want …%s…", c.options, err, c.want)
		}
	}
	headers := http.Header{"X-A": {"1"}}
	s, err := New(Options{URL: "https://h", Headers: headers})
	if err != nil {
		t.Fatal(err)
	}
	headers["X-A"][0] = "changed"
	if s.header.Get("X-A") != "1" || s.url.Path != "/" || s.header.Get("User-Agent") != "ttydrain/devel" {
		t.Errorf("%v %v", s.url, s.header)
	}
}
