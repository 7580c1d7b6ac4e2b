package https

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

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
		{"json", Options{}},
		{"ndjson", Options{Format: NDJSON, Headers: http.Header{"authorization": {"Bearer abc"}, "X-Two": {"1", "2"}}}},
		{"array", Options{Format: Array, Headers: http.Header{"Content-Type": {"application/vnd.example+json"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrain(t, settings{http1: true})
			c.options.URL = "/logs/ssh?source=ttydrain"
			c.options.Version = "1.2.3"
			batch := golden()
			if c.name == "json" { // the file has one operation after the other
				slices.SortStableFunc(batch, func(a, b sinks.Entry) int { return strings.Compare(a.Operation.ID, b.Operation.ID) })
			}
			if e := write(t, d.sink(t, c.options), batch); e != nil {
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
	batch := sinktest.Entries(5, 100)
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
	s := d.sink(t, Options{})
	for seed := range uint64(20) {
		if e := write(t, s, sinktest.Entries(seed, 20)); e != nil {
			t.Fatal(e)
		}
	}
	// A connection that comes back late is replaced by a new one: allow for some.
	if n := connections.Load(); n > 40 {
		t.Errorf("%d connections for 400 requests, one at a time", n)
	}
}

func TestHTTP1(t *testing.T) {
	for _, http1 := range []bool{false, true} { // whatever the drain offers
		var major atomic.Int32
		d := newDrain(t, settings{http1: http1, answer: func(w http.ResponseWriter, r *http.Request) { major.Store(int32(r.ProtoMajor)) }})
		if e := write(t, d.sink(t, Options{}), golden()); e != nil {
			t.Fatal(e)
		}
		if major.Load() != 1 {
			t.Errorf("HTTP/%d, want HTTP/1", major.Load())
		}
	}
}

// TestBasicAuthentication sends a user and a password that are settings, and those of a URL.
func TestBasicAuthentication(t *testing.T) {
	for name, o := range map[string]Options{
		"settings":   {Username: "ada", Password: "p:ä s"},
		"of the URL": {URL: "https://ada:p%3A%C3%A4%20s@"},
		"both":       {URL: "https://eve:x@", Username: "ada", Password: "p:ä s"},
	} {
		d := newDrain(t, settings{})
		o.URL = strings.TrimPrefix(o.URL, "https://") + d.server.Listener.Addr().String() + "/"
		o.URL = "https://" + o.URL
		o.TLS.CAFile = d.authority.File
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if e := write(t, s, golden()); e != nil {
			t.Fatal(e)
		}
		for _, r := range d.posts() {
			user, password, ok := (&http.Request{Header: r.header}).BasicAuth()
			if !ok || user != "ada" || password != "p:ä s" {
				t.Errorf("%s: %q and %q came", name, user, password)
			}
		}
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
		{Options{URL: "https://h/", ConnectionLifetime: -1}, "connection_lifetime is negative"},
		{Options{URL: "https://h/", Username: "a:b", Password: "x"}, "username has a colon"},
		{Options{URL: "https://a%3Ab:x@h/"}, "a user with a colon"},
		{Options{URL: "https://h/", Password: "x"}, "password is set without username"},
		{Options{URL: "https://h/", MaxRequestBytes: -1}, "negative"},
		{Options{URL: "https://h/", Headers: http.Header{"content-length": {"1"}}}, "headers.content-length is set by ttydrain itself"},
		{Options{URL: "https://h/", Headers: http.Header{"a b": {"1"}}}, "headers has a key that is no name of a header"},
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
