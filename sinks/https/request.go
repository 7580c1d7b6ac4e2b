package https

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ttydrain/ttydrain/sinks"
)

const idempotencyKey = "Idempotency-Key"

// request returns a request without a body.
func (s *Sink) request(ctx context.Context, method string, header http.Header) *http.Request {
	return (&http.Request{
		Method: method, URL: s.url, Host: s.url.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
}

// roundTrip sends the request and classifies the response. ctx is that of the caller, whose end is
// not a timeout of the request.
func (s *Sink) roundTrip(ctx context.Context, request *http.Request) *sinks.Error {
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return sinks.TransportError(ctx, "send to "+s.url.Host, err)
	}
	// Only the status line counts, whether or not the rest can be read.
	sinks.Drain(response)
	return judge(s.url.Host, response)
}

// A sender makes and sends requests, one at a time. It reuses its buffers, except for those that
// net/http may still read after the response: it drops these.
type sender struct {
	sink       *Sink
	plain      []byte
	compressed bytes.Buffer
	gzip       *gzip.Writer
	identities []byte
	shaper     *shaper // or nil

	template *requestTemplate // of the Write at hand, on which its requests go
}

// A requestTemplate holds the parts that are the same for every request of one Write, which makes a
// request cheap. It is replaced after a request that timed out, or that net/http may still use
// after its response.
type requestTemplate struct {
	caller  context.Context
	cancel  context.CancelCauseFunc // of request's context, which ends with the caller's and with the timeout of a request
	timeout *time.Timer             // of the request in flight; it runs only while there is one
	request *http.Request           // the one that all are copies of
	header  http.Header             // of all
	key     []string                // in header: the value of the Idempotency-Key
	data    []byte                  // the body of the request in flight
	reader  bytes.Reader            // of data
	body    io.ReadCloser           // of reader
	getBody func() (io.ReadCloser, error)

	connected atomic.Bool // the request in flight has a connection

	given, done atomic.Int32 // bodies that net/http was given, and bodies that it has finished reading
}

// newTemplate returns the template of the requests of a Write.
func (s *Sink) newTemplate(ctx context.Context) *requestTemplate {
	w := &requestTemplate{caller: ctx, header: maps.Clone(s.header), key: make([]string, 1)}
	limited, cancel := context.WithCancelCause(ctx)
	w.cancel = cancel
	w.timeout = time.AfterFunc(s.timeout, func() { cancel(context.DeadlineExceeded) })
	w.timeout.Stop()
	// net/http finds the hooks in the context of each request.
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { w.connected.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { w.done.Add(1) },
	})
	w.request = s.request(limited, http.MethodPost, w.header)
	// net/http knows bytes.Reader, and writes it with the head in one piece.
	w.body = io.NopCloser(&w.reader)
	// net/http asks for the body again when a kept connection turns out to be closed.
	w.getBody = func() (io.ReadCloser, error) {
		w.given.Add(1)
		return io.NopCloser(bytes.NewReader(w.data)), nil
	}
	return w
}

// end cancels a request that is still in flight.
func (w *requestTemplate) end() {
	w.timeout.Stop()
	w.cancel(nil)
}

// send sends a request with a body, and reports whether the template can be used again. If not,
// net/http may still read the body.
func (w *requestTemplate) send(s *Sink, data []byte, key string) (again bool, e *sinks.Error) {
	w.data = data
	w.reader.Reset(data)
	w.key[0] = key
	w.header[idempotencyKey] = w.key
	request := w.request.WithContext(w.request.Context()) // a copy, since net/http may have the one before for a moment longer
	request.ContentLength, request.Body, request.GetBody = int64(len(data)), w.body, w.getBody
	w.given.Add(1)
	w.connected.Store(false)
	w.timeout.Reset(s.timeout)
	e = s.roundTrip(w.caller, request)
	if e != nil && e.Status == 0 && !w.connected.Load() {
		e.Reached, e.TimedOut = false, 0
	}
	inTime := w.timeout.Stop()
	return inTime && w.done.Load() == w.given.Load(), e
}

// begin starts a new request.
func (d *sender) begin() {
	d.plain = d.plain[:0]
	d.identities = d.identities[:0]
}

// add appends a record. After an error, the request is unchanged.
func (d *sender) add(e sinks.Entry) *sinks.Error {
	before := len(d.plain)
	grown, err := d.encode(d.plain, e)
	if err != nil {
		return &sinks.Error{Verdict: sinks.Rejected, Reason: "the record cannot be encoded as JSON", Err: err}
	}
	d.plain = grown
	if size := len(grown) - before; size > d.sink.maxRecordBytes {
		d.plain = grown[:before]
		return &sinks.Error{Verdict: sinks.TooLarge,
			Reason: fmt.Sprintf("not sent: one record has %d bytes, and the drain takes %d for one", size, d.sink.maxRecordBytes)}
	}
	d.identities = append(d.identities, e.Operation.ID...)
	d.identities = append(d.identities, ' ')
	d.identities = strconv.AppendUint(d.identities, e.Record.Sequence, 10)
	d.identities = append(d.identities, '\n')
	return nil
}

// encode appends the record's object.
func (d *sender) encode(dst []byte, e sinks.Entry) ([]byte, error) {
	if d.shaper != nil {
		return d.shaper.append(dst, &d.sink.encoder, e, time.Now())
	}
	return d.sink.encoder.AppendRecord(dst, e.Operation, e.Record)
}

// tooLarge returns the error of a single record that exceeds the limit.
func (s *Sink) tooLarge(size int) *sinks.Error {
	return &sinks.Error{Verdict: sinks.TooLarge,
		Reason: fmt.Sprintf("not sent: one record has %d bytes, more than a request may have", size),
		Advice: fmt.Sprintf("raise max_request_bytes, which is %d", s.maxRequestBytes)}
}

// send posts the records that were added.
func (d *sender) send() *sinks.Error {
	s := d.sink
	data := d.plain
	if s.gzip {
		d.compressed.Reset()
		if d.gzip == nil {
			d.gzip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // an error is for levels that do not exist
		}
		d.gzip.Reset(&d.compressed)
		d.gzip.Write(d.plain) // a bytes.Buffer takes everything
		d.gzip.Close()
		data = d.compressed.Bytes()
	}
	key := sha256.Sum256(d.identities)
	again, e := d.template.send(s, data, hex.EncodeToString(key[:16]))
	if !again {
		// The drain answered early, or was not reached: a goroutine of net/http may still read the
		// buffer, so it is not reused.
		if s.gzip {
			d.compressed = bytes.Buffer{}
		} else {
			d.plain = nil
		}
		d.template.end()
		d.template = s.newTemplate(d.template.caller)
	}
	return e
}
