package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// secretOfPreset is in every key, token and URL of these tests, so that a printed one is found.
const secretOfPreset = "hunter2"

// An httpsPreset is a preset, with the limits of its provider's API.
type httpsPreset struct {
	name     string
	settings string // with %s for the host and the port
	path     string // with its query
	header   http.Header
	// The provider's limits; 0 for none.
	maxBytes, maxRecords, maxRecordBytes int
	// split returns the records in a body.
	split func(body []byte) ([]json.RawMessage, error)
}

var httpsPresets = []httpsPreset{
	{
		name:     "datadog",
		settings: `type: datadog, api_key: hunter2, url: "https://%s/api/v2/logs", tags: [env:production, team:audit]`,
		path:     "/api/v2/logs",
		header:   http.Header{"Dd-Api-Key": {secretOfPreset}, "Content-Encoding": {"gzip"}, "Content-Type": {"application/json"}},
		maxBytes: 5_000_000, maxRecords: 1000, maxRecordBytes: 1_000_000,
		split: func(body []byte) (records []json.RawMessage, err error) {
			return records, json.Unmarshal(body, &records)
		},
	},
	{
		name:     "sumologic",
		settings: `type: sumologic, url: "https://%s/receiver/v1/http/hunter2==", category: prod/ssh, source_name: ttydrain, source_host: gateway`,
		path:     "/receiver/v1/http/hunter2==",
		header:   http.Header{"X-Sumo-Category": {"prod/ssh"}, "X-Sumo-Name": {"ttydrain"}, "X-Sumo-Host": {"gateway"}, "Content-Encoding": {"gzip"}},
		maxBytes: 1_000_000,
		split: func(body []byte) (records []json.RawMessage, err error) {
			for line := range bytes.Lines(body) {
				records = append(records, json.RawMessage(line))
			}
			return records, nil
		},
	},
	{
		name:     "logdna",
		settings: `type: logdna, ingestion_key: hunter2, url: "https://%s/logs/ingest", hostname: ssh gateway, tags: [production, audit]`,
		path:     "/logs/ingest?hostname=ssh+gateway&tags=production%2Caudit",
		header:   http.Header{"Apikey": {secretOfPreset}, "Content-Type": {"application/json"}},
		maxBytes: 10_000_000,
		split: func(body []byte) ([]json.RawMessage, error) {
			var lines struct{ Lines []json.RawMessage }
			decoder := json.NewDecoder(bytes.NewReader(body))
			decoder.DisallowUnknownFields()
			return lines.Lines, decoder.Decode(&lines)
		},
	},
}

// A provider is a server that accepts what a provider's API accepts, and refuses everything else.
type provider struct {
	preset    httpsPreset
	server    *httptest.Server
	authority *sinktest.Authority

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	requests []providerRequest
	records  []sinktest.Got
}

type providerRequest struct {
	path   string
	header http.Header
	body   []byte // decompressed
	count  int
}

func newProvider(t *testing.T, preset httpsPreset) *provider {
	t.Helper()
	p := &provider{preset: preset, authority: sinktest.NewAuthority(t), changed: make(chan struct{})}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(p.take(t, r)) }))
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, p.authority)}}
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections break on purpose
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

func certificate(t *testing.T, a *sinktest.Authority) tls.Certificate {
	t.Helper()
	cert, key := a.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// take checks a request as the provider does, and returns the status of the answer.
func (p *provider) take(t *testing.T, r *http.Request) int {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return http.StatusBadRequest // the client went away
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	if r.URL.RequestURI() != p.preset.path {
		t.Errorf("posted to %s, want %s", r.URL.RequestURI(), p.preset.path)
		return http.StatusNotFound
	}
	for name, want := range p.preset.header {
		if got := r.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
			return http.StatusForbidden
		}
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			t.Errorf("the body is not gzip: %v", err)
			return http.StatusBadRequest
		}
	}
	if len(body) > p.preset.maxBytes {
		return http.StatusRequestEntityTooLarge
	}
	records, err := p.preset.split(body)
	if err != nil || len(records) == 0 || p.preset.maxRecords > 0 && len(records) > p.preset.maxRecords {
		t.Errorf("%d records in a request: %v", len(records), err)
		return http.StatusBadRequest
	}
	var got []sinktest.Got
	for _, record := range records {
		if p.preset.maxRecordBytes > 0 && len(record) > p.preset.maxRecordBytes {
			t.Errorf("a record of %d bytes, which the provider cuts", len(record))
		}
		got = append(got, gotOf(t, record))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, providerRequest{r.URL.RequestURI(), r.Header.Clone(), body, len(records)})
	p.records = append(p.records, got...)
	close(p.changed)
	p.changed = make(chan struct{})
	return http.StatusAccepted
}

// gotOf reads a record of any preset.
func gotOf(t *testing.T, object []byte) sinktest.Got {
	type fields struct {
		ID       string  `json:"operation_id"`
		Sequence uint64  `json:"sequence"`
		Event    string  `json:"event"`
		Log      string  `json:"log"`
		Base64   *string `json:"log_base64"`
		Text     string  `json:"text"`
	}
	var o struct {
		fields
		Message, Line *string
		Meta          *fields
	}
	if err := json.Unmarshal(object, &o); err != nil {
		t.Errorf("a record is not JSON: %v: %q", err, object)
	}
	if o.Meta != nil {
		o.fields = *o.Meta
	}
	if message := cmp.Or(o.Message, o.Line); message != nil {
		text, ok := strings.CutPrefix(*message, "operation_id="+o.ID+" ")
		if !ok {
			t.Errorf("the message does not begin with its operation: %q", *message)
		}
		o.Text = text
	}
	g := sinktest.Got{OperationID: o.ID, Sequence: o.Sequence, Event: o.Event, Log: []byte(o.Log), Text: o.Text}
	if o.Base64 != nil {
		exact, err := base64.StdEncoding.DecodeString(*o.Base64)
		if err != nil {
			t.Errorf("log_base64: %v", err)
		}
		g.Log = exact
	}
	return g
}

// received waits until the provider has at least want records.
func (p *provider) received(t *testing.T, want int) []sinktest.Got {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		p.mu.Lock()
		records, changed := slices.Clone(p.records), p.changed
		p.mu.Unlock()
		if len(records) >= want {
			return records
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the provider has %d records, want %d", len(records), want)
		}
	}
}
