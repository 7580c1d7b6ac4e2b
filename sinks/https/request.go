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
	"slices"
	"strconv"
	"sync"
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

// maxLent is how many buffers a sender expects back. Where the drain answers early, net/http is done with one a moment later.
const maxLent = 4

// A sender makes requests and sends them, one at a time. Its buffers are for one request after the
// other; one that net/http may still read when the answer has come is lent until it is closed.
type sender struct {
	sink       *Sink
	plain      []byte
	compressed bytes.Buffer
	lent       []*payload
	gzip       *gzip.Writer
	identities []byte
	shaper     *shaper // or nil
}

// begin starts a new request.
func (d *sender) begin() {
	if d.plain == nil {
		d.plain = d.returned()
	}
	d.plain = d.plain[:0]
	d.identities = d.identities[:0]
}

// returned gives an empty buffer that was lent and is closed, or nil.
func (d *sender) returned() []byte {
	for i, p := range d.lent {
		if p.open.Load() == 0 {
			d.lent = slices.Delete(d.lent, i, i+1)
			return p.data[:0]
		}
	}
	return nil
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
func (d *sender) send(ctx context.Context) *sinks.Error {
	s := d.sink
	data := d.plain
	if s.gzip {
		if d.compressed.Cap() == 0 {
			d.compressed = *bytes.NewBuffer(d.returned())
		}
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
	if p.open.Load() != 0 { // a goroutine of net/http may still read the buffer
		if len(d.lent) == maxLent {
			d.lent = slices.Delete(d.lent, 0, 1) // it may have that one
		}
		d.lent = append(d.lent, p)
		if s.gzip {
			d.compressed = bytes.Buffer{}
		} else {
			d.plain = nil
		}
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

	// mu guards what follows. Nothing says that a body is not closed while another goroutine is still in Read.
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
