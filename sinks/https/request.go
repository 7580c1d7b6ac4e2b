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

// request is a request without a body.
func (s *Sink) request(ctx context.Context, method string, header http.Header) *http.Request {
	return (&http.Request{
		Method: method, URL: s.url, Host: s.url.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
}

// roundTrip sends the request and judges the answer. ctx is the caller's, to tell its end from the
// timeout of the request.
func (s *Sink) roundTrip(ctx context.Context, request *http.Request) *sinks.Error {
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return sinks.TransportError(ctx, "send to "+s.url.Host, err)
	}
	// The status line is the whole answer: whatever becomes of the rest changes nothing.
	sinks.Drain(response)
	return judge(s.url.Host, response)
}

// A sender makes requests and sends them, one at a time. Its buffers are for one request after the
// other; those that net/http may still read when the answer has come are not its own any more.
type sender struct {
	sink       *Sink
	plain      []byte
	compressed bytes.Buffer
	gzip       *gzip.Writer
	identities []byte
	shaper     *shaper // or nil

	way *way // of the Write at hand, on which its requests go
}

// A way is what the requests of a Write have in common, one after the other, so that each costs
// little by itself. After one that net/http may still work on when its answer has come, or that
// took too long, the next one gets a way of its own.
type way struct {
	caller  context.Context
	cancel  context.CancelCauseFunc // of request's context, which is the caller's and ends with the timeout of a request
	timeout *time.Timer             // of the request under way; it runs only as long as that
	request *http.Request           // what all are copies of
	header  http.Header             // of all
	key     []string                // in header: the value of the Idempotency-Key
	data    []byte                  // the body of the request under way
	reader  bytes.Reader            // of data
	body    io.ReadCloser           // of reader
	getBody func() (io.ReadCloser, error)

	connected atomic.Bool // the request under way has a connection

	given, done atomic.Int32 // bodies that net/http has been given to read, and those that it has read to where it wanted
}

// start makes a way for requests that write.
func (s *Sink) start(ctx context.Context) *way {
	w := &way{caller: ctx, header: maps.Clone(s.header), key: make([]string, 1)}
	limited, cancel := context.WithCancelCause(ctx)
	w.cancel = cancel
	w.timeout = time.AfterFunc(s.timeout, func() { cancel(context.DeadlineExceeded) })
	w.timeout.Stop()
	// net/http looks for the hooks in each request's context, from here on up.
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { w.connected.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { w.done.Add(1) },
	})
	w.request = s.request(limited, http.MethodPost, w.header)
	// A bytes.Reader net/http knows, and writes with the head in one piece.
	w.body = io.NopCloser(&w.reader)
	// It asks for the body again when a connection that it kept turns out to be closed.
	w.getBody = func() (io.ReadCloser, error) {
		w.given.Add(1)
		return io.NopCloser(bytes.NewReader(w.data)), nil
	}
	return w
}

// end ends whatever is still under way.
func (w *way) end() {
	w.timeout.Stop()
	w.cancel(nil)
}

// send sends a request with a body, and says whether another one can go the same way. If not,
// net/http may still read the body.
func (w *way) send(s *Sink, data []byte, key string) (again bool, e *sinks.Error) {
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

// add appends a record. After an error there is nothing more in the request than before.
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

// tooLarge is for a single record that is over the limit.
func (s *Sink) tooLarge(size int) *sinks.Error {
	return &sinks.Error{Verdict: sinks.TooLarge,
		Reason: fmt.Sprintf("not sent: one record has %d bytes, more than a request may have", size),
		Advice: fmt.Sprintf("raise max_request_bytes, which is %d", s.maxRequestBytes)}
}

// send posts what has been added.
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
	again, e := d.way.send(s, data, hex.EncodeToString(key[:16]))
	if !again {
		// The drain answered early, or nobody could be reached: a goroutine of net/http may still read
		// the buffer, which is its own now.
		if s.gzip {
			d.compressed = bytes.Buffer{}
		} else {
			d.plain = nil
		}
		d.way.end()
		d.way = s.start(d.way.caller)
	}
	return e
}
