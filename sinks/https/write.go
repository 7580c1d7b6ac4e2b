package https

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink].
//
// Several requests are under way at a time, each with records of other operations. After a failed one nothing more of its
// operations is sent, so that nothing overtakes; after one that failed because of the drain, and not of the records, nothing at
// all. What was not sent is not delivered and has the verdict Retry.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	o := sinks.NewOutcome(len(batch))
	if s.format == JSON {
		s.writeEach(ctx, batch, o)
	} else {
		s.writeTogether(ctx, batch, o)
	}
	if e := o.Error(); e != nil {
		return e
	}
	return nil
}

// writeEach sends one record a request, and several operations at a time.
func (s *Sink) writeEach(ctx context.Context, batch []sinks.Entry, o *sinks.Outcome) {
	s.plan.make(batch)
	var next atomic.Int32 // the first operation that nobody has taken
	work := func(d *sender) {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(s.plan.first) {
				return
			}
			s.writeOperation(ctx, d, batch, s.plan.first[i], o)
		}
	}
	var others sync.WaitGroup
	for _, d := range s.senders[1:min(len(s.senders), len(s.plan.first))] {
		others.Go(func() { work(d) }) // ends with the last request, or with ctx
	}
	work(s.senders[0])
	others.Wait()
}

// writeOperation sends an operation's records from the given one on, until one fails.
func (s *Sink) writeOperation(ctx context.Context, d *sender, batch []sinks.Entry, first int, o *sinks.Outcome) {
	for i := first; i >= 0 && !o.Stopped(); i = s.plan.next[i] {
		d.begin()
		e := d.add(batch[i])
		if e == nil && len(d.plain) > s.maxRequestBytes {
			e = s.tooLarge(len(d.plain))
		}
		if e == nil {
			e = d.send(ctx)
		}
		if e != nil {
			o.Fail(e, i)
			return
		}
		o.Deliver(i)
	}
}

// A plan chains a batch's entries by operation.
type plan struct {
	first []int // of each operation, its first entry
	next  []int // of each entry, the next of the same operation, or -1

	last map[string]int // of each operation, the last entry seen so far
}

func (p *plan) make(batch []sinks.Entry) {
	if p.last == nil {
		p.last = make(map[string]int)
	}
	p.first = p.first[:0]
	p.next = slices.Grow(p.next[:0], len(batch))[:len(batch)]
	for i, e := range batch {
		p.next[i] = -1
		if last, ok := p.last[e.Operation.ID]; ok {
			p.next[last] = i
		} else {
			p.first = append(p.first, i)
		}
		p.last[e.Operation.ID] = i
	}
	clear(p.last)
}

// writeTogether sends as many records a request as may be. Each lane's requests go one after the other.
func (s *Sink) writeTogether(ctx context.Context, batch []sinks.Entry, o *sinks.Outcome) {
	lanes := s.splitter.Split(batch, len(s.senders))
	var others sync.WaitGroup
	for i, lane := range lanes[1:] {
		others.Go(func() { s.writeLane(ctx, s.senders[i+1], batch, lane, o) }) // ends with the last request, or with ctx
	}
	s.writeLane(ctx, s.senders[0], batch, lanes[0], o)
	others.Wait()
}

// writeLane sends the entries with these indices, until a request fails.
func (s *Sink) writeLane(ctx context.Context, d *sender, batch []sinks.Entry, lane []int, o *sinks.Outcome) {
	for len(lane) > 0 && !o.Stopped() {
		n, e := s.fill(d, batch, lane)
		if e == nil {
			e = d.send(ctx)
		}
		if e != nil {
			o.Fail(e, lane[:n]...)
			return
		}
		for _, i := range lane[:n] {
			o.Deliver(i)
		}
		lane = lane[n:]
	}
}

// fullBytes is when a request has enough: larger ones are no faster, and every lane of every drain has room for one.
const fullBytes = 1 << 20

// fill begins a request with the first of the entries with these indices, and says how many.
func (s *Sink) fill(d *sender, batch []sinks.Entry, lane []int) (n int, e *sinks.Error) {
	d.begin()
	d.plain = append(d.plain, s.begin...)
	for n = 0; n < len(lane) && n < s.maxRecords && len(d.plain) < fullBytes; n++ {
		plain, identities := len(d.plain), len(d.identities)
		if n > 0 {
			d.plain = append(d.plain, s.separator...)
		}
		e := d.add(batch[lane[n]])
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
