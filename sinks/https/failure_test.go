package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

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
		{406, sinks.Misconfigured, "Accept"}, {411, sinks.Misconfigured, "Content-Length"}, {412, sinks.Misconfigured, "condition"},
		{414, sinks.Misconfigured, "shorten url"}, {417, sinks.Misconfigured, "HTTP/1.1"}, {421, sinks.Misconfigured, "url and server_name"},
		{423, sinks.Misconfigured, "locked"}, {424, sinks.Misconfigured, "not ready"}, {426, sinks.Misconfigured, "HTTP/1.1"},
		{428, sinks.Misconfigured, "condition"}, {451, sinks.Misconfigured, "legal"}, {505, sinks.Misconfigured, "HTTP/1.1"},
		{511, sinks.Misconfigured, "demands a login"},
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
				if !strings.HasPrefix(e.Message(), fmt.Sprintf("%s answered %d", host, c.status)) || !strings.Contains(e.Message(), c.reason) {
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
		if e == nil || e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), c.want) || strings.Contains(e.Error(), "s3cr3t") {
			t.Errorf("%s: %v", c.location, e)
		}
	}
	if n := len(other.posts()); n > 0 {
		t.Errorf("%d requests were sent on to another host", n)
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
		if item.Index != 7 || item.Verdict != sinks.TooLarge || !strings.Contains(item.Message(), "raise max_request_bytes") {
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
					if item.Status == 0 && (item.Verdict != sinks.Retry || !strings.Contains(item.Message(), "not sent")) {
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
	e := write(t, d.sink(t, Options{}), batch)
	if e == nil || e.Verdict != sinks.Retry || len(e.Items) != 0 {
		t.Fatalf("%+v", e)
	}
	if n := len(d.posts()); n != 1 {
		t.Errorf("%d requests to a drain that is down, want one", n)
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
				if e == nil || e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), c.want) {
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
		{301, sinks.Misconfigured}, {401, sinks.Misconfigured}, {403, sinks.Misconfigured}, {406, sinks.Misconfigured}, {412, sinks.Misconfigured},
		{421, sinks.Misconfigured}, {426, sinks.Misconfigured}, {428, sinks.Misconfigured}, {451, sinks.Misconfigured}, {511, sinks.Misconfigured}, {407, sinks.Misconfigured},
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
				if e != nil && (e.Verdict != sinks.Retry || !strings.Contains(e.Message(), "no answer in time") || errors.Is(e, context.Canceled) || !e.Reached || e.TimedOut != 1) {
					t.Errorf("%v: %v", e.Verdict, e)
				}
			})
		}
	}
}

// TestNextRequest has a drain that does something unusual with the first request of a Write: those
// behind it, of other operations, are as if it had not done so.
func TestNextRequest(t *testing.T) {
	batch := sinktest.Entries(11, 30)
	first := *batch[0].Record
	first.Log = bytes.Repeat([]byte("x"), 16<<20) // more than is on its way at a time
	for _, c := range []struct {
		name      string
		handle    func(d *drain, w http.ResponseWriter, r *http.Request)
		delivered bool
	}{
		{"an answer without end", func(d *drain, w http.ResponseWriter, r *http.Request) {
			d.keep(t, r)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, true},
		{"an answer before it was read", func(d *drain, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}, false},
	} {
		for _, gzip := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", gzip: ", gzip), func(t *testing.T) {
				batch := slices.Clone(batch)
				if !c.delivered {
					batch[0].Record = &first
				}
				var begun atomic.Bool
				d := newDrain(t, settings{http1: true, handle: func(d *drain, w http.ResponseWriter, r *http.Request) {
					if begun.CompareAndSwap(false, true) {
						c.handle(d, w, r)
						return
					}
					d.keep(t, r)
				}})
				s := d.sink(t, Options{Timeout: time.Second, MaxRequestBytes: 64 << 20, Gzip: gzip})
				e := write(t, s, batch)
				if c.delivered != (e == nil) {
					t.Fatalf("%+v", e)
				}
				want := len(batch)
				if e != nil { // what its operation has behind it is left, and all where the connection ended before the response was read
					want--
					var left []sinks.Entry
					for i, entry := range batch[1:] {
						if len(e.Items) == 0 || slices.ContainsFunc(e.Items, func(item sinks.Item) bool { return item.Index == i+1 }) {
							left = append(left, entry)
						}
					}
					if e := write(t, s, left); e != nil {
						t.Fatal(e)
					}
				}
				if got := d.received(t, want); len(got) != want {
					t.Fatalf("%d records, want %d", len(got), want)
				}
				keys := make(map[string]bool)
				for _, r := range d.posts() {
					keys[r.header.Get(idempotencyKey)] = true
				}
				if len(keys) != want {
					t.Errorf("%d keys for %d requests", len(keys), want)
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
			io.Copy(io.Discard, r.Body) // only then the server looks whether the client is there
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
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, sinks.AsError(err).Message()), secret) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if got := d.posts()[0].header.Get("Authorization"); got != "Basic dXNlcjpzM2NyM3Q=" {
		t.Errorf("Authorization is %q", got)
	}
}
