package elasticsearch

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink]. A batch that exceeds Options.MaxRequestBytes is sent in several
// requests, one after the other, up to the first that fails as a whole.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	d := s.senders.Get().(*sender)
	defer s.senders.Put(d)
	o := sinks.NewOutcome(len(batch))
	d.write(ctx, batch, o)
	if e := o.Error(); e != nil {
		return e
	}
	s.find(ctx, batch)
	return nil
}

// A sender makes requests and sends them, one at a time. It is for one goroutine.
type sender struct {
	sink   *Sink
	ids    ids
	body   []byte       // the request's documents, until the request has ended
	packed bytes.Buffer // the same compressed, with Gzip
	packer *gzip.Writer // nil until it is needed
	answer bytes.Buffer // of the last request
}

// write sends the entries, until a request fails as a whole.
func (d *sender) write(ctx context.Context, batch []sinks.Entry, o *sinks.Outcome) {
	for sent := 0; sent < len(batch); {
		n, e := d.encode(batch[sent:])
		if e != nil {
			o.Fail(e, sent, n)
			return
		}
		failed, whole := d.send(ctx, sent, n)
		if whole != nil {
			o.Fail(whole, sent, n)
			return
		}
		for _, item := range failed {
			o.FailItem(item)
		}
		for i := sent; i < sent+n; i++ {
			if len(failed) > 0 && failed[0].Index == i {
				failed = failed[1:]
				continue
			}
			o.Deliver(i)
		}
		sent += n
	}
}

// encode makes the body from the first entries, as many as fit, and returns their number; with an
// error, the number of entries that it concerns.
func (d *sender) encode(batch []sinks.Entry) (n int, _ *sinks.Error) {
	d.body = d.body[:0]
	for n, e := range batch {
		before := len(d.body)
		d.body = sinks.GrowForBatch(d.body, n, len(batch), d.sink.options.MaxRequestBytes)
		d.body = append(d.body, `{"create":{"_id":`...)
		d.body = d.ids.append(d.body, e.Operation, e.Record)
		d.body = append(d.body, "}}\n"...)
		var err error
		d.body, err = d.sink.encoder.AppendRecord(d.body, e.Operation, e.Record)
		if err != nil {
			if n > 0 { // the entries before it are sent first
				d.body = d.body[:before]
				return n, nil
			}
			return 1, &sinks.Error{Verdict: sinks.Rejected, Reason: "a record cannot be encoded as JSON", Err: err}
		}
		d.body = append(d.body, '\n')
		if len(d.body) > d.sink.options.MaxRequestBytes && n > 0 {
			d.body = d.body[:before]
			return n, nil
		}
	}
	return len(batch), nil
}

// ids makes the _id of documents; see the package documentation. It keeps the common beginning of
// those of an operation. It is for one goroutine, and the zero value is ready.
type ids struct {
	operation *schema.Operation // of begin, or nil
	begin     []byte
}

// append appends the JSON string of a document's _id.
func (i *ids) append(dst []byte, op *schema.Operation, r *schema.Record) []byte {
	if i.operation != op {
		var room [64]byte
		begin := append(room[:0], op.ID...)
		begin = append(begin, '-')
		begin = strconv.AppendInt(begin, op.Started.UnixNano(), 36)
		begin = append(begin, '-')
		begin, _ = schema.AppendString(i.begin[:0], begin)
		i.operation, i.begin = op, begin[:len(begin)-1] // without the quote at its end
	}
	dst = append(dst, i.begin...)
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	if r.Detail != nil && r.Detail.LastSequence != 0 {
		// Not the ID of the first missing record: that one may exist, from a write whose response
		// was lost.
		dst = append(dst, "-gap"...)
	}
	return append(dst, '"')
}

// send sends the body, which has n entries of the batch from first on. It returns those that were
// not delivered, in their order, or an error that concerns them all.
func (d *sender) send(ctx context.Context, first, n int) ([]sinks.Item, *sinks.Error) {
	s := d.sink
	r := request{
		doing:       "write to the data stream " + s.options.DataStream,
		api:         s.bulk,
		contentType: "application/x-ndjson",
		body:        d.body,
	}
	if s.options.Gzip {
		if err := d.pack(); err != nil {
			return nil, &sinks.Error{Verdict: sinks.Retry, Reason: "compress the records", Err: err}
		}
		r.body, r.encoding = d.packed.Bytes(), "gzip"
	}
	answer, released, err := s.do(ctx, r, &d.answer)
	if !released {
		// The connection may still read the bytes, so they are not reused.
		d.body, d.packed = nil, bytes.Buffer{}
	}
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, s.refusal(answer)
	}
	return readItems(answer.body, first, n, s.known())
}

// pack makes d.packed from d.body.
func (d *sender) pack() error {
	d.packed.Reset()
	if d.packer == nil {
		packer, err := gzip.NewWriterLevel(&d.packed, gzip.BestSpeed)
		if err != nil {
			return err
		}
		d.packer = packer
	} else {
		d.packer.Reset(&d.packed)
	}
	if _, err := d.packer.Write(d.body); err != nil {
		return err
	}
	return d.packer.Close()
}
