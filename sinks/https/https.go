// Package https is the sink that sends records as JSON over HTTPS.
//
// A request has one record (format "json"), or several: one a line ("ndjson"), or in a JSON array
// ("array"). An answer of 2xx means that the drain has them all. The Idempotency-Key of a request is
// made from the identities (operation ID and sequence) of its records, so a request that is repeated
// with the same records has the same key; a batch that the pipeline repeats in other pieces has not,
// and only the identities in the records tell then.
//
// A drain that expects other objects than the records themselves, or takes only so much at once, has a
// [Shape] and limits in its [Options]. No limit cuts or drops a record in silence: what is too large
// alone is not sent, and has the verdict TooLarge.
//
// The requests of a Write go one after the other; several goroutines may call it at a time, with records of other operations each.
//
// Not guaranteed: that a request which failed had no effect, and that a drain which answers 2xx has
// stored anything.
package https

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Format says how records are put into requests.
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

// Defaults of Options.
const (
	DefaultTimeout         = 30 * time.Second
	DefaultMaxRequestBytes = 5 << 20
)

// Options say where and how to send. Only URL is needed.
type Options struct {
	// URL is where requests are posted to, with the scheme https. A user and a password in it are
	// sent by basic authentication (RFC 7617). It is never printed; only its host is.
	URL string
	// Format is JSON by default.
	Format Format
	// Gzip compresses the bodies (Content-Encoding: gzip).
	Gzip bool
	// Headers are sent with each request. They take the place of Content-Type, User-Agent and the
	// URL's user; the headers that belong to a message's framing are refused.
	Headers http.Header
	TLS     sinks.TLS
	// Timeout is for one request, from connecting to the end of the answer.
	Timeout time.Duration
	// MaxRequestBytes is how long a body may be before compression. A record that is longer by
	// itself is not sent, and has the verdict TooLarge.
	MaxRequestBytes int
	// MaxRequestRecords is how many records a request may have; 0 for no limit.
	MaxRequestRecords int
	// MaxRecordBytes is how long one record's object may be, where a drain would cut a longer one: it is
	// not sent, and has the verdict TooLarge. 0 for as long as a request.
	MaxRecordBytes int
	// ArrayField puts the array of the format Array into an object, as the field of this name; "" sends
	// the array itself.
	ArrayField string
	// Shape says how the objects differ from the records; nil for not at all.
	Shape *Shape
	// Version is ttydrain's own, for the User-Agent.
	Version string
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
	u, user, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	s := &Sink{
		url:             u,
		format:          or(o.Format, JSON),
		gzip:            o.Gzip,
		timeout:         or(o.Timeout, DefaultTimeout),
		maxRequestBytes: or(o.MaxRequestBytes, DefaultMaxRequestBytes),
		maxRecords:      or(o.MaxRequestRecords, math.MaxInt),
		maxRecordBytes:  or(o.MaxRecordBytes, math.MaxInt),
	}
	switch {
	case s.format.contentType() == "":
		return nil, fmt.Errorf("format is %q: expected %q, %q or %q", o.Format, JSON, NDJSON, Array)
	case s.timeout < 0 || s.maxRequestBytes < 0 || s.maxRecords < 0 || s.maxRecordBytes < 0:
		return nil, errors.New("timeout, max_request_bytes, max_request_records and max_record_bytes must not be negative")
	case o.ArrayField != "" && s.format != Array:
		return nil, fmt.Errorf("array_field is for the format %q, and the format is %q", Array, s.format)
	}
	if err := o.Shape.check(); err != nil {
		return nil, err
	}
	s.frame(o.ArrayField)
	if s.header, err = s.makeHeader(o, user); err != nil {
		return nil, err
	}
	if s.transport, err = o.TLS.Transport(0); err != nil { // each request has its own timeout
		return nil, err
	}
	s.senders.New = func() any { return &sender{sink: s, shaper: newShaper(o.Shape)} }
	return s, nil
}

// frame sets what stands around records in a body.
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

// or is value, or fallback where value is the zero value.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// parseURL takes user and password out of the URL. Its errors do not quote it.
func parseURL(raw string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, nil, errors.New("url is not set: expected one such as https://logs.example.com/path")
	case err != nil:
		return nil, nil, errors.New("url is not a valid URL: expected one such as https://logs.example.com/path, with special characters percent-encoded")
	case u.Scheme == "http":
		return nil, nil, errors.New("url has the scheme http: what people see in their sessions is sent over TLS only: expected https")
	case u.Scheme != "https" || u.Hostname() == "":
		return nil, nil, errors.New("url has no scheme https or no host: expected one such as https://logs.example.com/path")
	}
	user := u.User
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	return u, user, nil
}

// makeHeader is what all requests have in common.
func (s *Sink) makeHeader(o Options, user *url.Userinfo) (http.Header, error) {
	h := http.Header{
		"Content-Type": {s.format.contentType()},
		"User-Agent":   {"ttydrain/" + or(o.Version, "devel")},
	}
	if s.gzip {
		h["Content-Encoding"] = []string{"gzip"}
	}
	if user != nil {
		password, _ := user.Password()
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
	}
	for name, values := range o.Headers {
		if !isToken(name) {
			return nil, fmt.Errorf("headers: %q is not the name of a header: expected letters, digits and hyphens", name)
		}
		canonical := http.CanonicalHeaderKey(name)
		switch canonical {
		case "Connection", "Content-Encoding", "Content-Length", "Expect", "Host", idempotencyKey, "Keep-Alive",
			"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			return nil, fmt.Errorf("headers: %s is set by ttydrain itself: remove it", canonical)
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil, fmt.Errorf("headers: the value of %s has a control character, such as a newline at its end: remove it", canonical)
			}
		}
		h[canonical] = append([]string(nil), values...)
	}
	return h, nil
}

// isToken says whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Probe implements [sinks.Sink] with a HEAD request. A drain that refuses the credentials, redirects,
// is gone or broken fails it. That it says 404, 405 or the like proves nothing, since many drains know
// only POST, and is taken as good.
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
