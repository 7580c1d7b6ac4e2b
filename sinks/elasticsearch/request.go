package elasticsearch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/sinks"
)

// maxAnswer bounds a response in bytes. A response can be longer than the request, since
// Elasticsearch may quote all of a refused record.
const maxAnswer = 64 << 20

// A request is a request to Elasticsearch or OpenSearch.
type request struct {
	doing                 string        // in the words of an error
	api                   esapi.Request // without its body
	contentType, encoding string
	body                  []byte
}

// pathRequest is a GET request to a path that esapi does not have. It implements [esapi.Request].
type pathRequest string

// Do implements [esapi.Request].
func (p pathRequest) Do(ctx context.Context, t esapi.Transport) (*esapi.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, string(p), nil)
	if err != nil {
		return nil, err
	}
	got, err := t.Perform(r)
	if err != nil {
		return nil, err
	}
	return &esapi.Response{StatusCode: got.StatusCode, Header: got.Header, Body: got.Body}, nil
}

// transportFunc is a function that implements [esapi.Transport].
type transportFunc func(*http.Request) (*http.Response, error)

// Perform implements [esapi.Transport].
func (f transportFunc) Perform(r *http.Request) (*http.Response, error) { return f(r) }

// An answer is the response to a request. The body belongs to the buffer that do read it into.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the response into a buffer. released reports that r.body belongs to
// the caller again: a connection can read it for a moment after the response has arrived.
func (s *Sink) do(ctx context.Context, r request, into *bytes.Buffer) (answer, bool, *sinks.Error) {
	return s.ask(ctx, s.client, r, into)
}

// ask is do with a certain client.
func (s *Sink) ask(ctx context.Context, by *elastictransport.Client, r request, into *bytes.Buffer) (_ answer, released bool, _ *sinks.Error) {
	s.transport.Renew()
	limited, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	var open atomic.Int32
	var valid, connected atomic.Bool
	got, err := r.api.Do(limited, transportFunc(func(hr *http.Request) (*http.Response, error) {
		valid.Store(true)
		hr.Header.Set("Accept-Encoding", sinks.Identity)
		if len(r.body) > 0 {
			hr.ContentLength = int64(len(r.body))
			hr.GetBody = func() (io.ReadCloser, error) {
				open.Add(1)
				return &body{Reader: bytes.NewReader(r.body), open: &open}, nil
			}
			hr.Body, _ = hr.GetBody()
			hr.Header.Set("Content-Type", r.contentType)
			if r.encoding != "" {
				hr.Header.Set("Content-Encoding", r.encoding)
			}
		}
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
		return by.Perform(hr.WithContext(httptrace.WithClientTrace(hr.Context(), trace)))
	}))
	if err != nil && !valid.Load() {
		return answer{}, true, &sinks.Error{Verdict: sinks.Misconfigured, Reason: r.doing + ": the settings make no valid URL", Advice: "correct urls", Err: err}
	}
	if err == nil {
		into.Reset()
		_, err = into.ReadFrom(io.LimitReader(got.Body, maxAnswer+1))
		got.Body.Close()
	}
	released = open.Load() == 0
	switch {
	case errors.Is(err, sinks.ErrEncoding):
		return answer{}, released, &sinks.Error{Verdict: sinks.Misconfigured, Status: got.StatusCode,
			Reason: r.doing + ": the answer is compressed, although none was asked for",
			Advice: "set the proxy before the cluster to pass Accept-Encoding on"}
	case err != nil:
		e := sinks.TransportError(ctx, r.doing, err)
		if !connected.Load() {
			e.Reached, e.TimedOut = false, 0
		}
		return answer{}, released, e
	case into.Len() > maxAnswer:
		return answer{}, released, &sinks.Error{Verdict: sinks.Retry, Status: got.StatusCode, Reason: r.doing + ": the answer is too long", Advice: "correct urls"}
	}
	return answer{got.StatusCode, got.Header, into.Bytes()}, released, nil
}

// A body is a request's body that counts itself as open until the connection has finished with it.
type body struct {
	io.Reader
	open   *atomic.Int32 // counts the bodies of the request that are not closed
	closed atomic.Bool
}

func (b *body) Close() error {
	if b.closed.CompareAndSwap(false, true) {
		b.open.Add(-1)
	}
	return nil
}
