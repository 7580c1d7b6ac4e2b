package https

import (
	"context"

	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink]. Its requests go one after the other.
//
// After a failed one nothing more of its operations is sent, so that nothing overtakes; after one
// that failed because of the drain, and not of the records, nothing at all. What was not sent is
// not delivered and has the verdict Retry.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	s.transport.Renew()
	d := s.senders.Get().(*sender)
	d.way = s.start(ctx)
	defer func() {
		d.way.end()
		d.way = nil
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

// writeEach sends one record a request.
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

// writeTogether sends as many records a request as may be, until a request fails.
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
	// fullBytes is when a request has enough: larger ones are no faster, and every write of every
	// drain has room for one.
	fullBytes = 256 << 10
	// fullRoom is room for such a request, most of them.
	fullRoom = fullBytes + 32<<10
)

// fill begins a request with the first entries, and says how many.
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
			break // what comes before it goes first
		}
	}
	d.plain = append(d.plain, s.end...)
	return n, nil
}
