// Package tracingtest is an OpenTelemetry collector for tests. It accepts traces by OTLP over HTTP,
// in protobuf, like real collectors.
package tracingtest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span that the collector received.
type Span struct {
	Name, Trace, ID, Parent string
	Links                   []string // IDs of spans
	Attributes              map[string]string
	Error                   bool
	Began                   time.Time
}

// Collector accepts traces until the test ends.
type Collector struct {
	// URL is the address that traces are posted to.
	URL string

	mu    sync.Mutex // guards the fields below
	spans []Span
	raw   []byte
}

// New starts a collector that requires a header with this value.
func New(t testing.TB, header, value string) *Collector {
	t.Helper()
	c := new(Collector)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get(header) != value {
			t.Errorf("the collector got %s with %s", r.URL.Path, r.Header.Get("Content-Type"))
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Error(err)
				return
			}
		}
		if err := c.take(body); err != nil {
			t.Errorf("the collector can't read it: %v", err)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // of an empty ExportTraceServiceResponse
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL + "/v1/traces"
	return c
}

func (c *Collector) take(body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, data...)
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s))
			}
		}
	}
	return nil
}

func spanOf(s *tracev1.Span) Span {
	span := Span{
		Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Attributes: make(map[string]string), Error: s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR, Began: time.Unix(0, int64(s.GetStartTimeUnixNano())),
	}
	for _, l := range s.GetLinks() {
		span.Links = append(span.Links, hex.EncodeToString(l.GetSpanId()))
	}
	for _, a := range s.GetAttributes() {
		span.Attributes[a.GetKey()] = textOf(a.GetValue())
	}
	return span
}

func textOf(v *common.AnyValue) string {
	if n, ok := v.GetValue().(*common.AnyValue_IntValue); ok {
		return strconv.FormatInt(n.IntValue, 10)
	}
	return v.GetStringValue()
}

// Named returns the spans with this name, in the order of arrival.
func (c *Collector) Named(name string) (spans []Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Name == name {
			spans = append(spans, s)
		}
	}
	return spans
}

// Find reports whether the received data contains text.
func (c *Collector) Find(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.raw, []byte(text))
}
