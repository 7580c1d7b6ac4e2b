package https

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ttydrain/ttydrain/sinks"
)

// Write implements [sinks.Sink].
//
// After a failed request nothing more of its operations is sent, so that nothing overtakes; after
// one that failed because of the drain, and not of the records, nothing at all. What was not sent is
// not delivered and has the verdict Retry.
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	r := &result{delivered: make([]bool, len(batch))}
	if s.format == JSON {
		s.writeEach(ctx, batch, r)
	} else {
		s.writeTogether(ctx, batch, r)
	}
	if e := r.error(); e != nil {
		return e
	}
	return nil
}

// writeEach sends one record a request, and several operations at a time.
func (s *Sink) writeEach(ctx context.Context, batch []sinks.Entry, r *result) {
	s.plan.make(batch)
	var next atomic.Int32 // the first operation that nobody has taken
	work := func(d *sender) {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(s.plan.first) {
				return
			}
			s.writeOperation(ctx, d, batch, s.plan.first[i], r)
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
func (s *Sink) writeOperation(ctx context.Context, d *sender, batch []sinks.Entry, first int, r *result) {
	for i := first; i >= 0 && !r.stopped.Load(); i = s.plan.next[i] {
		d.begin()
		e := d.add(batch[i])
		if e == nil && len(d.plain) > s.maxRequestBytes {
			e = s.tooLarge(len(d.plain))
		}
		if e == nil {
			e = d.send(ctx)
		}
		if e != nil {
			r.fail(i, i+1, e)
			return
		}
		r.delivered[i] = true
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

// writeTogether sends as many records a request as may be, one request after the other.
func (s *Sink) writeTogether(ctx context.Context, batch []sinks.Entry, r *result) {
	d := s.senders[0]
	for from := 0; from < len(batch); {
		to, e := s.fill(d, batch, from)
		if e == nil {
			e = d.send(ctx)
		}
		if e != nil {
			r.fail(from, to, e)
			return
		}
		for i := from; i < to; i++ {
			r.delivered[i] = true
		}
		from = to
	}
}

// fill begins a request with the entries from the given one on, and says where it stops.
func (s *Sink) fill(d *sender, batch []sinks.Entry, from int) (to int, e *sinks.Error) {
	d.begin()
	d.plain = append(d.plain, s.begin...)
	for to = from; to < len(batch) && to-from < s.maxRecords; to++ {
		plain, identities := len(d.plain), len(d.identities)
		if to > from {
			d.plain = append(d.plain, s.separator...)
		}
		e := d.add(batch[to])
		d.plain = append(d.plain, s.terminator...)
		size := len(d.plain) + len(s.end)
		if e == nil && size > s.maxRequestBytes {
			e = s.tooLarge(size)
		}
		if e != nil {
			if to == from {
				return to + 1, e
			}
			d.plain, d.identities = d.plain[:plain], d.identities[:identities]
			break // what comes before it goes first
		}
	}
	d.plain = append(d.plain, s.end...)
	return to, nil
}

// A result gathers what became of a batch.
type result struct {
	delivered []bool      // each entry's is written by the one goroutine that sends it
	stopped   atomic.Bool // nothing more is to be sent

	mu       sync.Mutex // guards failures
	failures []failure
}

// A failure is of the entries from one index to before another, which were in one request.
type failure struct {
	from, to int
	err      *sinks.Error
}

func (r *result) fail(from, to int, e *sinks.Error) {
	if e.Verdict != sinks.Rejected && e.Verdict != sinks.TooLarge {
		r.stopped.Store(true)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure{from, to, e})
}

// error is nil where everything was delivered.
func (r *result) error() *sinks.Error {
	if len(r.failures) == 0 {
		return nil
	}
	slices.SortFunc(r.failures, func(a, b failure) int { return a.from - b.from })
	// The batch's own verdict is that of the caller's end, before the drain's, before a record's.
	whole := *slices.MaxFunc(r.failures, func(a, b failure) int { return rank(a.err) - rank(b.err) }).err
	for _, f := range r.failures {
		whole.RetryAfter = max(whole.RetryAfter, f.err.RetryAfter)
	}
	if only := r.failures[0]; only.from == 0 && only.to == len(r.delivered) {
		return &whole
	}
	if !recordsFault(whole.Verdict) && !slices.Contains(r.delivered, true) {
		return &whole
	}
	failures := r.failures
	for i, delivered := range r.delivered {
		if len(failures) > 0 && i >= failures[0].to {
			failures = failures[1:]
		}
		switch {
		case delivered:
		case len(failures) > 0 && i >= failures[0].from:
			e := failures[0].err
			whole.Items = append(whole.Items, sinks.Item{Index: i, Verdict: e.Verdict, Status: e.Status, Reason: e.Reason})
		default:
			whole.Items = append(whole.Items, sinks.Item{Index: i, Verdict: sinks.Retry, Reason: "not sent, since a request before it failed"})
		}
	}
	return &whole
}

// rank orders errors by how much they say about the whole batch.
func rank(e *sinks.Error) int {
	switch {
	case e.Status == 0 && (errors.Is(e, context.Canceled) || errors.Is(e, context.DeadlineExceeded)):
		return 2
	case !recordsFault(e.Verdict):
		return 1
	default:
		return 0
	}
}

// recordsFault says whether another batch could be delivered all the same.
func recordsFault(v sinks.Verdict) bool { return v == sinks.Rejected || v == sinks.TooLarge }
