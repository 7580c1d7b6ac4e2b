package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// An Outcome collects the results of a batch that is sent in several requests. It is for one
// goroutine.
type Outcome struct {
	delivered []bool
	stopped   bool     // nothing more is to be sent
	wholes    []*Error // of requests that failed as a whole
	items     []Item   // the entries that were not delivered by requests that were sent
}

// NewOutcome returns the outcome of a batch of n entries, none of which is sent yet.
func NewOutcome(n int) *Outcome { return &Outcome{delivered: make([]bool, n)} }

// Deliver notes that an entry was delivered.
func (o *Outcome) Deliver(index int) { o.delivered[index] = true }

// Fail notes that the request with n entries from first on failed as a whole. If the records are
// not the cause, nothing more is to be sent: see Stopped.
func (o *Outcome) Fail(e *Error, first, n int) {
	if !recordsFault(e.Verdict) {
		o.stopped = true
	}
	if e.TimedOut > 0 {
		e.TimedOut = n
	}
	o.wholes = append(o.wholes, e)
	for i := first; i < first+n; i++ {
		o.items = append(o.items, Item{Index: i, Verdict: e.Verdict, Status: e.Status, Reason: e.Reason, Advice: e.Advice})
	}
}

// FailItem notes that the drain refused one entry of a request that it answered. Others may be
// sent.
func (o *Outcome) FailItem(item Item) { o.items = append(o.items, item) }

// Stopped reports whether nothing more is to be sent: the drain is unreachable, or refuses
// everything.
func (o *Outcome) Stopped() bool { return o.stopped }

// Error returns nil if everything was delivered. Entries that were not sent have the verdict Retry.
func (o *Outcome) Error() *Error {
	if len(o.items) == 0 {
		return nil
	}
	slices.SortFunc(o.items, func(a, b Item) int { return cmp.Compare(a.Index, b.Index) })
	if len(o.wholes) == 0 {
		return o.ofItems()
	}
	// The batch's own verdict is that of the caller's end, before the drain's, before a record's.
	whole := *slices.MaxFunc(o.wholes, func(a, b *Error) int { return rank(a) - rank(b) })
	for _, e := range o.wholes {
		whole.RetryAfter = max(whole.RetryAfter, e.RetryAfter)
	}
	all := len(o.items) == len(o.delivered) // met the same fate, in one request or another
	for _, item := range o.items {
		all = all && item.Verdict == whole.Verdict
	}
	if all || !recordsFault(whole.Verdict) && !slices.Contains(o.delivered, true) && !slices.ContainsFunc(o.items, rejected) {
		return &whole
	}
	whole.Items = o.withUnsent()
	return &whole
}

// withUnsent returns the items, with those for the entries that were not sent.
func (o *Outcome) withUnsent() []Item {
	items := make([]Item, 0, len(o.items))
	next := 0
	for i, delivered := range o.delivered {
		switch {
		case next < len(o.items) && o.items[next].Index == i:
			items = append(items, o.items[next])
			next++
		case !delivered:
			items = append(items, Item{Index: i, Verdict: Retry, Reason: "not sent, since a request before it failed", Unsent: true})
		}
	}
	return items
}

// ofItems returns the error if every request was answered. If all entries failed in the same way,
// and the records are not the cause, it is the error of the whole batch.
func (o *Outcome) ofItems() *Error {
	first := o.items[0]
	e := &Error{Verdict: first.Verdict, Status: first.Status}
	same := len(o.items) == len(o.delivered) && first.Verdict != Rejected
	for _, item := range o.items {
		same = same && item.Verdict == first.Verdict && item.Reason == first.Reason && item.Advice == first.Advice
	}
	if same {
		e.Reason, e.Advice = first.Reason, first.Advice
		return e
	}
	e.Items = o.items
	e.Advice = first.Advice
	e.Reason = fmt.Sprintf("%d of %d records were not taken, the first because: %s", len(o.items), len(o.delivered), first.Reason)
	return e
}

// rank orders errors by their significance for the whole batch.
func rank(e *Error) int {
	switch {
	case e.Status == 0 && (errors.Is(e, context.Canceled) || errors.Is(e, context.DeadlineExceeded)):
		return 2
	case !recordsFault(e.Verdict):
		return 1
	default:
		return 0
	}
}

// recordsFault reports whether the records are the cause of an error, so that another batch could
// be delivered.
func recordsFault(v Verdict) bool { return v == Rejected || v == TooLarge }

func rejected(i Item) bool { return recordsFault(i.Verdict) }
