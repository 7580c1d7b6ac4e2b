package elasticsearch

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink]. A batch that exceeds Options.MaxRequestBytes goes in several
// requests, one after the other, and stops at the first that fails as a whole.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.installTemplate(ctx); err != nil {
		return err
	}
	var failed []sinks.Item
	for start := 0; start < len(batch); {
		end, err := s.encode(batch, start)
		if err != nil {
			return err
		}
		items, whole := s.send(ctx, start, end-start)
		if whole != nil {
			return partly(whole, failed, start, len(batch))
		}
		failed = append(failed, items...)
		start = end
	}
	if len(failed) == 0 {
		s.find(ctx, batch)
		return nil
	}
	return summary(failed, len(batch))
}

// encode makes s.body from the entries from start on, as many as fit, and returns the end of them.
func (s *Sink) encode(batch []sinks.Entry, start int) (end int, err error) {
	s.body = s.body[:0]
	for i := start; i < len(batch); i++ {
		e := batch[i]
		before := len(s.body)
		s.body = append(s.body, `{"create":{"_id":`...)
		s.body = appendID(s.body, e.Operation, e.Record)
		s.body = append(s.body, "}}\n"...)
		s.body, err = s.encoder.AppendRecord(s.body, e.Operation, e.Record)
		if err != nil {
			return 0, &sinks.Error{Verdict: sinks.Rejected, Reason: "a record cannot be encoded as JSON", Err: err}
		}
		s.body = append(s.body, '\n')
		if len(s.body) > s.options.MaxRequestBytes && i > start {
			s.body = s.body[:before]
			return i, nil
		}
	}
	return len(batch), nil
}

// appendID appends the JSON string of a document's _id; see the package documentation.
func appendID(dst []byte, op *schema.Operation, r *schema.Record) []byte {
	var room [64]byte
	id := append(room[:0], op.ID...)
	id = append(id, '-')
	id = strconv.AppendInt(id, op.Started.UnixNano(), 36)
	id = append(id, '-')
	id = strconv.AppendUint(id, r.Sequence, 10)
	if r.Detail != nil && r.Detail.LastSequence != 0 {
		// Not the ID of the first record that it says is missing: that one may be there, from a write whose answer was lost.
		id = append(id, "-gap"...)
	}
	dst, _ = schema.AppendString(dst, id)
	return dst
}

// send sends s.body, which has n entries beginning with the one at start in the batch. It returns
// the entries that were not delivered, or an error that concerns them all.
func (s *Sink) send(ctx context.Context, start, n int) ([]sinks.Item, *sinks.Error) {
	r := request{
		doing:       "write to the data stream " + s.options.DataStream,
		method:      http.MethodPost,
		path:        s.bulkPath,
		contentType: "application/x-ndjson",
		body:        s.body,
	}
	if s.options.Gzip {
		if err := s.pack(); err != nil {
			return nil, &sinks.Error{Verdict: sinks.Retry, Reason: "compress the records", Err: err}
		}
		r.body, r.encoding = s.packed.Bytes(), "gzip"
	}
	answer, released, err := s.do(ctx, r, &s.answer)
	if !released {
		// The connection may still read the bytes: they are not this sink's any more.
		s.body, s.packed = nil, bytes.Buffer{}
	}
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, s.refusal(answer)
	}
	return readItems(answer.body, start, n, s.options)
}

// pack makes s.packed from s.body.
func (s *Sink) pack() error {
	s.packed.Reset()
	if s.packer == nil {
		packer, err := gzip.NewWriterLevel(&s.packed, gzip.BestSpeed)
		if err != nil {
			return err
		}
		s.packer = packer
	} else {
		s.packer.Reset(&s.packed)
	}
	if _, err := s.packer.Write(s.body); err != nil {
		return err
	}
	return s.packer.Close()
}

// partly is the error of a batch of n entries of which those before start were sent, some of them in
// vain, when the request with the next ones failed as a whole.
func partly(whole *sinks.Error, failed []sinks.Item, start, n int) *sinks.Error {
	if start == 0 {
		return whole
	}
	e := *whole
	if e.Verdict == sinks.Rejected || e.Verdict == sinks.TooLarge {
		// It is not known which of them is meant. Once they are alone in a batch, the verdict is on all
		// of it, and the caller can halve it.
		e.Verdict = sinks.Retry
	}
	e.Items = failed
	for i := start; i < n; i++ {
		e.Items = append(e.Items, sinks.Item{Index: i, Verdict: e.Verdict, Status: e.Status, Reason: e.Reason})
	}
	return &e
}

// summary is the error of a batch of n entries whose requests all were answered. Where every entry has
// met the same fate, which passes or has to be repaired, it is the whole batch's.
func summary(failed []sinks.Item, n int) *sinks.Error {
	first := failed[0]
	e := &sinks.Error{Verdict: first.Verdict, Status: first.Status}
	same := len(failed) == n && first.Verdict != sinks.Rejected
	for _, item := range failed {
		same = same && item.Verdict == first.Verdict && item.Reason == first.Reason
	}
	if same {
		e.Reason = first.Reason
		return e
	}
	e.Items = failed
	e.Reason = fmt.Sprintf("%d of %d records were not taken, the first because: %s", len(failed), n, first.Reason)
	return e
}
