package sinks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOutcome(t *testing.T) {
	const reason = "the reason"
	item := func(i int, v Verdict) Item { return Item{Index: i, Verdict: v, Status: 418, Reason: reason} }
	unsent := func(i int) Item {
		return Item{Index: i, Reason: "not sent, since a request before it failed", Unsent: true}
	}
	whole := func(v Verdict) *Error {
		return &Error{Verdict: v, Status: 418, RetryAfter: time.Second, Reason: reason, Err: errors.ErrUnsupported}
	}
	for _, c := range []struct {
		name    string
		send    func(*Outcome) // of four entries
		verdict Verdict
		items   []Item
		words   string
		stopped bool
	}{
		{"the only request fails", func(o *Outcome) { o.Fail(whole(Rejected), 0, 4) }, Rejected, nil, reason, false},
		{"the drain is down", func(o *Outcome) { o.Fail(whole(Retry), 0, 2); o.Fail(whole(Retry), 2, 1) }, Retry, nil, reason, true},
		{"the drain refuses all", func(o *Outcome) { o.Fail(whole(Misconfigured), 1, 1) }, Misconfigured, nil, reason, true},
		{"one is delivered before that", func(o *Outcome) { o.Deliver(0); o.Fail(whole(Gone), 1, 1) }, Gone,
			[]Item{item(1, Gone), unsent(2), unsent(3)}, reason, true},
		{"a request is refused, what is behind it is not sent", func(o *Outcome) { o.Deliver(0); o.Fail(whole(Rejected), 1, 2) }, Rejected,
			[]Item{item(1, Rejected), item(2, Rejected), unsent(3)}, reason, false},
		{"all requests are too large", func(o *Outcome) { o.Fail(whole(TooLarge), 0, 2); o.Fail(whole(TooLarge), 2, 2) }, TooLarge, nil, reason, false},
		// Both keep their verdicts, so that they are halved: they will never be alone in a batch by
		// themselves.
		{"two requests of three are too large", func(o *Outcome) { o.Fail(whole(TooLarge), 0, 2); o.Deliver(2); o.Fail(whole(TooLarge), 3, 1) }, TooLarge,
			[]Item{item(0, TooLarge), item(1, TooLarge), item(3, TooLarge)}, reason, false},
		{"the drain's fault before a record's", func(o *Outcome) { o.Fail(whole(Rejected), 1, 1); o.Fail(whole(Misconfigured), 0, 1) }, Misconfigured,
			[]Item{item(0, Misconfigured), item(1, Rejected), unsent(2), unsent(3)}, reason, true},
		{"an answer refuses one", func(o *Outcome) { o.Deliver(0); o.Deliver(1); o.FailItem(item(3, Rejected)); o.Deliver(2) }, Rejected,
			[]Item{item(3, Rejected)}, "1 of 4 records", false},
		{"answers refuse some, a request fails", func(o *Outcome) {
			o.FailItem(item(2, Rejected))
			o.Deliver(1)
			o.Fail(whole(Retry), 0, 1)
			o.Fail(whole(Retry), 3, 1)
		}, Retry,
			[]Item{item(0, Retry), item(2, Rejected), item(3, Retry)}, reason, true},
		{"all are busy", func(o *Outcome) {
			for i := range 4 {
				o.FailItem(item(i, Retry))
			}
		}, Retry, nil, reason, false},
		// Each by itself: there is nothing to find by halving.
		{"each is refused", func(o *Outcome) {
			for i := range 4 {
				o.FailItem(item(i, Rejected))
			}
		}, Rejected, []Item{item(0, Rejected), item(1, Rejected), item(2, Rejected), item(3, Rejected)}, "4 of 4 records", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOutcome(4)
			if o.Error() != nil || o.Stopped() {
				t.Error("failed before anything was sent")
			}
			c.send(o)
			e := o.Error()
			if e == nil || e.Verdict != c.verdict || e.Status != 418 || !slices.Equal(e.Items, c.items) || !strings.Contains(e.Message(), c.words) || o.Stopped() != c.stopped {
				t.Fatalf("%+v, stopped %t; want %v, %+v, %t", e, o.Stopped(), c.verdict, c.items, c.stopped)
			}
			if len(o.wholes) > 0 && (e.RetryAfter != time.Second || !errors.Is(e, errors.ErrUnsupported)) {
				t.Errorf("%+v", e)
			}
		})
	}
	o := NewOutcome(2)
	o.Deliver(0)
	o.Deliver(1)
	if e := o.Error(); e != nil {
		t.Error(e)
	}
}
