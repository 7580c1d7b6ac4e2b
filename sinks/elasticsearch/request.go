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

	"github.com/ttydrain/ttydrain/sinks"
)

// maxAnswer bounds an answer in bytes. An answer can be longer than the request, since
// Elasticsearch may quote all of a refused record.
const maxAnswer = 64 << 20

// A request is a request to Elasticsearch.
type request struct {
	doing                 string // in the words of an error
	method, path          string
	contentType, encoding string
	body                  []byte
}

// An answer is the answer to a request. The body belongs to the buffer that do read it into.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer into a buffer. released reports that r.body belongs to
// the caller again: a connection can read it for a moment after the answer has arrived.
func (s *Sink) do(ctx context.Context, r request, into *bytes.Buffer) (answer, bool, *sinks.Error) {
	return s.ask(ctx, s.client, r, into)
}

// ask is do with a certain client.
func (s *Sink) ask(ctx context.Context, by *elastictransport.Client, r request, into *bytes.Buffer) (_ answer, released bool, _ *sinks.Error) {
	s.transport.Renew()
	limited, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	hr, err := http.NewRequestWithContext(limited, r.method, r.path, nil)
	if err != nil {
		return answer{}, true, &sinks.Error{Verdict: sinks.Misconfigured, Reason: r.doing + ": the settings make no valid URL", Advice: "correct urls", Err: err}
	}
	hr.Header.Set("Accept-Encoding", sinks.Identity)
	var open atomic.Int32
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
	var connected atomic.Bool
	hr = hr.WithContext(httptrace.WithClientTrace(hr.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	got, err := by.Perform(hr)
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
