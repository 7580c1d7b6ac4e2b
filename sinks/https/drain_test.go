package https

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// A drain is a TLS server that keeps what it gets.
type drain struct {
	server    *httptest.Server
	authority *sinktest.Authority

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	requests []request
	records  []sinktest.Got
}

type request struct {
	method, path string
	header       http.Header
	body         []byte // as sent
	plain        []byte // decompressed
}

// settings of a drain; the zero value offers HTTP/2 too, and answers 204.
type settings struct {
	http1  bool
	tls    func(*tls.Config)
	answer http.HandlerFunc // after the request was kept
	// handle takes the place of everything that the drain does with a request.
	handle func(d *drain, w http.ResponseWriter, r *http.Request)
	state  func(net.Conn, http.ConnState)
	hosts  []string
	until  time.Time
	// authority issues the certificate, and listener accepts; nil for new ones.
	authority *sinktest.Authority
	listener  net.Listener
}

func newDrain(t testing.TB, s settings) *drain {
	t.Helper()
	d := &drain{authority: s.authority, changed: make(chan struct{})}
	if d.authority == nil {
		d.authority = sinktest.NewAuthority(t)
	}
	if s.hosts == nil {
		s.hosts = []string{"127.0.0.1", "localhost"}
	}
	if s.until.IsZero() {
		s.until = time.Now().Add(time.Hour)
	}
	d.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.handle != nil {
			s.handle(d, w, r)
			return
		}
		if !d.keep(t, r) {
			return
		}
		if s.answer != nil {
			s.answer(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	if s.listener != nil {
		d.server.Listener.Close()
		d.server.Listener = s.listener
	}
	cert, key := d.authority.Issue(t, s.until, s.hosts...)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	d.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	if s.tls != nil {
		s.tls(d.server.TLS)
	}
	d.server.Config.ConnState = s.state
	d.server.EnableHTTP2 = !s.http1
	d.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are meant to fail
	d.server.StartTLS()
	t.Cleanup(d.server.Close)
	return d
}

// keep says whether the whole request was there.
func (d *drain) keep(t testing.TB, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false // the client went away
	}
	plain := body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			plain, err = io.ReadAll(z)
		}
		if err != nil {
			t.Errorf("body is not gzip: %v", err)
		}
	}
	var records []sinktest.Got
	if r.Method == http.MethodPost {
		records = decode(t, r.Header.Get("Content-Type"), plain)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, request{r.Method, r.URL.RequestURI(), r.Header.Clone(), body, plain})
	d.records = append(d.records, records...)
	close(d.changed)
	d.changed = make(chan struct{})
	return true
}

// decode reads records as any JSON parser does.
func decode(t testing.TB, contentType string, body []byte) (got []sinktest.Got) {
	type object struct {
		ID       string  `json:"operation_id"`
		Sequence uint64  `json:"sequence"`
		Event    string  `json:"event"`
		Log      string  `json:"log"`
		Base64   *string `json:"log_base64"`
		Text     string  `json:"text"`
	}
	var objects []object
	decoder := json.NewDecoder(bytes.NewReader(body))
	if bytes.HasPrefix(body, []byte("[")) {
		if err := decoder.Decode(&objects); err != nil {
			t.Errorf("body is not a JSON array: %v", err)
		}
	} else {
		for {
			var o object
			err := decoder.Decode(&o)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("body is not JSON: %v", err)
				break
			}
			objects = append(objects, o)
		}
		if contentType == "application/x-ndjson" && bytes.Count(body, []byte("\n")) != len(objects) {
			t.Errorf("%d objects on %d lines", len(objects), bytes.Count(body, []byte("\n")))
		}
	}
	for _, o := range objects {
		g := sinktest.Got{OperationID: o.ID, Sequence: o.Sequence, Event: o.Event, Log: []byte(o.Log), Text: o.Text}
		if o.Base64 != nil {
			exact, err := base64.StdEncoding.DecodeString(*o.Base64)
			if err != nil {
				t.Errorf("log_base64: %v", err)
			}
			if o.Log != strings.ToValidUTF8(o.Log, "") {
				t.Error("log is not valid UTF-8")
			}
			g.Log = exact
		}
		got = append(got, g)
	}
	return got
}

// received waits until the drain holds at least want records.
func (d *drain) received(t *testing.T, want int) []sinktest.Got {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		d.mu.Lock()
		records, changed := d.records, d.changed
		d.mu.Unlock()
		if len(records) >= want {
			return append([]sinktest.Got(nil), records...)
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the drain holds %d records, want %d", len(records), want)
		}
	}
}

// posts are the requests that could have written something.
func (d *drain) posts() (posts []request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.requests {
		if r.method == http.MethodPost {
			posts = append(posts, r)
		}
	}
	return posts
}

// sink makes a sink for the drain; o.URL may have a path only.
func (d *drain) sink(t testing.TB, o Options) *Sink {
	t.Helper()
	if !strings.Contains(o.URL, "://") {
		o.URL = d.server.URL + o.URL
	}
	if o.TLS.CAFile == "" {
		o.TLS.CAFile = d.authority.File
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var _ sinks.Sink = (*Sink)(nil)
