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

const (
	idempotencyKey = "Idempotency-Key"
	// maxAnswer is how much of an answer is read, and thrown away, so that its connection can be
	// used again. A longer one costs the connection.
	maxAnswer = 64 << 10
)

// request is a request without a body.
func (s *Sink) request(ctx context.Context, method string) *http.Request {
	return (&http.Request{
		Method: method, URL: s.url, Host: s.url.Host, Header: maps.Clone(s.header),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
}

// roundTrip sends the request and judges the answer. ctx is the caller's, to tell its end from the
// timeout of the request.
func (s *Sink) roundTrip(ctx context.Context, request *http.Request) *sinks.Error {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	response, err := s.transport.RoundTrip(request.WithContext(limited))
	if err != nil {
		return sinks.TransportError(ctx, "send to "+s.url.Host, err)
	}
	// The status line is the whole answer: whatever becomes of the rest changes nothing.
	io.CopyN(io.Discard, response.Body, maxAnswer)
	response.Body.Close()
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

	// What follows is of one Write.

	caller context.Context
	ctx    context.Context // the caller's, with the hook of lent
	lent   *loan
}

// A loan counts the bodies that net/http has been given to read, and those that it has read to where it wanted.
type loan struct{ given, done atomic.Int32 }

// start begins a Write, or goes on with it where an earlier request of it may still be read.
func (d *sender) start(ctx context.Context) {
	l := new(loan)
	d.caller, d.lent = ctx, l
	d.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { l.done.Add(1) }})
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
		Reason: fmt.Sprintf("not sent: one record has %d bytes, more than a request may have: raise max_request_bytes, which is %d", size, s.maxRequestBytes)}
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
	request := s.request(d.ctx, http.MethodPost)
	request.Header[idempotencyKey] = []string{hex.EncodeToString(key[:16])}
	request.ContentLength = int64(len(data))
	// net/http may ask for the body again when a connection that it kept turns out to be closed. A bytes.Reader it knows, and
	// writes with the head in one piece.
	body := func() io.ReadCloser {
		d.lent.given.Add(1)
		return io.NopCloser(bytes.NewReader(data))
	}
	request.Body = body()
	request.GetBody = func() (io.ReadCloser, error) { return body(), nil }
	e := s.roundTrip(d.ctx, request)
	if d.lent.done.Load() != d.lent.given.Load() {
		// The drain answered early, or nobody could be reached: a goroutine of net/http may still read the buffer, which is its own now.
		if s.gzip {
			d.compressed = bytes.Buffer{}
		} else {
			d.plain = nil
		}
		d.start(d.caller)
	}
	return e
}
