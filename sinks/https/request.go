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
	"strconv"
	"sync"
	"sync/atomic"

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
// other, and belong to net/http while body.open is not zero.
type sender struct {
	sink       *Sink
	plain      []byte
	compressed bytes.Buffer
	gzip       *gzip.Writer
	identities []byte
}

// begin starts a new request.
func (d *sender) begin() {
	d.plain = d.plain[:0]
	d.identities = d.identities[:0]
}

// add appends a record.
func (d *sender) add(e sinks.Entry) *sinks.Error {
	s := d.sink
	s.mu.Lock()
	grown, err := s.encoder.AppendRecord(d.plain, e.Operation, e.Record)
	s.mu.Unlock()
	if err != nil {
		return &sinks.Error{Verdict: sinks.Rejected, Reason: "the record cannot be encoded as JSON", Err: err}
	}
	d.plain = grown
	d.identities = append(d.identities, e.Operation.ID...)
	d.identities = append(d.identities, ' ')
	d.identities = strconv.AppendUint(d.identities, e.Record.Sequence, 10)
	d.identities = append(d.identities, '\n')
	return nil
}

// tooLarge is for a single record that is over the limit.
func (s *Sink) tooLarge(size int) *sinks.Error {
	return &sinks.Error{Verdict: sinks.TooLarge,
		Reason: fmt.Sprintf("not sent: one record has %d bytes, more than a request may have: raise max_request_bytes, which is %d", size, s.maxRequestBytes)}
}

// send posts what has been added.
func (d *sender) send(ctx context.Context) *sinks.Error {
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
	request := s.request(ctx, http.MethodPost)
	request.Header[idempotencyKey] = []string{hex.EncodeToString(key[:16])}
	request.ContentLength = int64(len(data))
	// net/http may ask for the body again when a connection that it kept turns out to be closed.
	p := &payload{data: data}
	request.Body = p.reader()
	request.GetBody = func() (io.ReadCloser, error) { return p.reader(), nil }
	e := s.roundTrip(ctx, request)
	if p.open.Load() != 0 {
		// An early answer or an error: a goroutine of net/http still reads the buffer. It may have it.
		d.plain, d.compressed = nil, bytes.Buffer{}
	}
	return e
}

// A payload is the bytes of a request's body.
type payload struct {
	data []byte
	open atomic.Int32 // readers that are not closed
}

func (p *payload) reader() io.ReadCloser {
	p.open.Add(1)
	r := &payloadReader{payload: p}
	r.left.Reset(p.data)
	return r
}

// A payloadReader offers Read and Close alone: a WriteTo would lend the buffer to the connection.
type payloadReader struct {
	payload *payload

	// mu guards what follows. HTTP/2 closes a body while another goroutine is still in Read.
	mu     sync.Mutex
	left   bytes.Reader
	closed bool
}

func (r *payloadReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return r.left.Read(b)
}

// Close returns when nothing reads the buffer any more. It may be called twice.
func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.payload.open.Add(-1)
	}
	return nil
}
