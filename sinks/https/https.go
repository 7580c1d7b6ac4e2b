// Package https is the sink that sends records as JSON over HTTPS.
//
// A request has one record (format "json"), or several: one a line ("ndjson"), or in a JSON array
// ("array"). A response with a status of 2xx acknowledges all of them. The Idempotency-Key of a
// request is made from the identities (operation ID and sequence) of its records, so a request that
// is repeated with the same records has the same key. A batch that the pipeline repeats in other
// requests has other keys: then only the identities of the records show the repeat.
//
// Drains that expect other objects than records, or accept requests of a limited size, have a
// [Shape] and limits in their [Options]. No limit truncates or drops a record silently: a record
// that is too large is not sent, and has the verdict TooLarge.
//
// A Write sends one request after the other. Several goroutines may call it at a time, each with
// records of other operations.
//
// Not guaranteed: that a failed request had no effect, and that a drain has stored what it
// acknowledged.
package https

import (
	"context"
	"maps"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Format is a way to put records into requests.
type Format string

const (
	JSON   Format = "json"   // one object a request
	NDJSON Format = "ndjson" // one object a line, each ended by a newline
	Array  Format = "array"  // one array of objects
)

// contentType of the format's requests; "" for a format that does not exist.
func (f Format) contentType() string {
	switch f {
	case JSON, Array:
		return "application/json"
	case NDJSON:
		return "application/x-ndjson"
	default:
		return ""
	}
}

// A Sink writes to one HTTPS drain. See [sinks.Sink].
type Sink struct {
	url             *url.URL // without user and password
	header          http.Header
	format          Format
	gzip            bool
	timeout         time.Duration
	maxRequestBytes int
	maxRecords      int // in a request
	maxRecordBytes  int
	begin, end      string // of a body
	separator       string // between records
	terminator      string // after each record
	transport       *sinks.Transport
	encoder         schema.Encoder
	senders         sync.Pool // of *sender
}

// New checks the options and reads the files that they name. It connects to nothing.
func New(o Options) (*Sink, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	u, user := splitURL(o.URL)
	s := &Sink{
		url:             u,
		format:          or(o.Format, JSON),
		gzip:            o.Gzip,
		timeout:         or(o.Timeout, DefaultTimeout),
		maxRequestBytes: or(o.MaxRequestBytes, DefaultMaxRequestBytes),
		maxRecords:      or(o.MaxRequestRecords, math.MaxInt),
		maxRecordBytes:  or(o.MaxRecordBytes, math.MaxInt),
	}
	s.frame(o.ArrayField)
	s.header = s.makeHeader(o, user)
	var err error
	if s.transport, err = sinks.NewTransport(sinks.TransportOptions{TLS: o.TLS, Lifetime: o.ConnectionLifetime, Proxy: o.Proxy}); err != nil {
		return nil, err
	}
	s.senders.New = func() any { return &sender{sink: s, shaper: newShaper(o.Shape)} }
	return s, nil
}

// frame sets the bytes around the records in a body.
func (s *Sink) frame(arrayField string) {
	switch s.format {
	case NDJSON:
		s.terminator = "\n"
	case Array:
		s.begin, s.separator, s.end = "[", ",", "]"
		if arrayField != "" {
			s.begin, s.end = string(appendName([]byte("{"), arrayField))+"[", "]}"
		}
	}
}

// or returns value, or fallback if value is the zero value.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Probe implements [sinks.Sink] with a HEAD request. It fails if the drain refuses the credentials,
// redirects, is gone or broken. Responses such as 404 and 405 count as success, since many drains
// know only POST.
func (s *Sink) Probe(ctx context.Context) error {
	s.transport.Renew()
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	header := maps.Clone(s.header)
	header.Del("Content-Type")
	header.Del("Content-Encoding")
	e := s.roundTrip(ctx, s.request(limited, http.MethodHead, header))
	if e == nil || e.Verdict == sinks.Rejected || e.Verdict == sinks.TooLarge ||
		e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented {
		return nil
	}
	return e
}

// Close implements [sinks.Sink].
func (s *Sink) Close() error {
	s.transport.Close()
	return nil
}
