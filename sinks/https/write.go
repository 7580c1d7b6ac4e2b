package https

import (
	"context"

	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink]. It sends one request after the other.
//
// After a failed request, no more records of its operations are sent, which keeps their order. If
// the failure was not caused by the records, nothing more is sent at all. Records that were not
// sent have the verdict Retry.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	s.transport.Renew()
	d := s.senders.Get().(*sender)
	d.template = s.newTemplate(ctx)
	defer func() {
		d.template.end()
		d.template = nil
		s.senders.Put(d)
	}()
	o := sinks.NewOutcome(len(batch))
	if s.format == JSON {
		d.writeEach(batch, o)
	} else {
		d.writeTogether(batch, o)
	}
	if e := o.Error(); e != nil {
		return e
	}
	return nil
}

// writeEach sends each record in a request of its own.
func (d *sender) writeEach(batch []sinks.Entry, o *sinks.Outcome) {
	var failed map[string]bool // operations
	for i := range batch {
		if o.Stopped() {
			return
		}
		if failed[batch[i].Operation.ID] {
			continue
		}
		d.begin()
		e := d.add(batch[i])
		if e == nil && len(d.plain) > d.sink.maxRequestBytes {
			e = d.sink.tooLarge(len(d.plain))
		}
		if e == nil {
			e = d.send()
		}
		if e == nil {
			o.Deliver(i)
			continue
		}
		o.Fail(e, i, 1)
		if failed == nil {
			failed = make(map[string]bool)
		}
		failed[batch[i].Operation.ID] = true
	}
}

// writeTogether puts as many records into each request as are allowed, until a request fails.
func (d *sender) writeTogether(batch []sinks.Entry, o *sinks.Outcome) {
	for sent := 0; sent < len(batch); {
		n, e := d.fill(batch[sent:])
		if e == nil {
			e = d.send()
		}
		if e != nil {
			o.Fail(e, sent, n)
			return
		}
		for i := range n {
			o.Deliver(sent + i)
		}
		sent += n
	}
}

const (
	// fullBytes is the size of a full request: larger ones are no faster, and each Write of each
	// drain holds one in memory.
	fullBytes = 256 << 10
	// fullRoom is the capacity of a buffer for most such requests.
	fullRoom = fullBytes + 32<<10
)

// fill begins a request with the first entries, and returns their number.
func (d *sender) fill(batch []sinks.Entry) (n int, e *sinks.Error) {
	s := d.sink
	d.begin()
	if d.plain == nil && len(batch) >= fullBytes>>10 { // a record has about a KiB
		d.plain = make([]byte, 0, fullRoom)
	}
	d.plain = append(d.plain, s.begin...)
	for n = 0; n < len(batch) && n < s.maxRecords && len(d.plain) < fullBytes; n++ {
		plain, identities := len(d.plain), len(d.identities)
		if n > 0 {
			d.plain = append(d.plain, s.separator...)
		}
		e := d.add(batch[n])
		d.plain = append(d.plain, s.terminator...)
		size := len(d.plain) + len(s.end)
		if e == nil && size > s.maxRequestBytes {
			e = s.tooLarge(size)
		}
		if e != nil {
			if n == 0 {
				return 1, e
			}
			d.plain, d.identities = d.plain[:plain], d.identities[:identities]
			break // the entries before it are sent first
		}
	}
	d.plain = append(d.plain, s.end...)
	return n, nil
}
