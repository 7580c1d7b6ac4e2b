package sinks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestOutcome(t *testing.T) {
	const reason = "the reason"
	item := func(i int, v Verdict) Item { return Item{Index: i, Verdict: v, Status: 418, Reason: reason} }
	unsent := func(i int) Item { return Item{Index: i, Reason: "not sent, since a request before it failed"} }
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
		{"the only request fails", func(o *Outcome) { o.Fail(whole(Rejected), 0, 1, 2, 3) }, Rejected, nil, reason, false},
		{"the drain is down", func(o *Outcome) { o.Fail(whole(Retry), 0, 1); o.Fail(whole(Retry), 2) }, Retry, nil, reason, true},
		{"the drain refuses all", func(o *Outcome) { o.Fail(whole(Misconfigured), 1) }, Misconfigured, nil, reason, true},
		{"one is delivered before that", func(o *Outcome) { o.Deliver(0); o.Fail(whole(Gone), 1) }, Gone,
			[]Item{item(1, Gone), unsent(2), unsent(3)}, reason, true},
		{"a request is refused, what is behind it is not sent", func(o *Outcome) { o.Deliver(0); o.Fail(whole(Rejected), 1, 3) }, Rejected,
			[]Item{item(1, Rejected), unsent(2), item(3, Rejected)}, reason, false},
		{"all requests are too large", func(o *Outcome) { o.Fail(whole(TooLarge), 0, 2); o.Fail(whole(TooLarge), 1, 3) }, TooLarge, nil, reason, false},
		// Both keep their verdicts, so that they are halved: they will never be alone in a batch by themselves.
		{"two requests of three are too large", func(o *Outcome) { o.Fail(whole(TooLarge), 0, 2); o.Deliver(1); o.Fail(whole(TooLarge), 3) }, TooLarge,
			[]Item{item(0, TooLarge), item(2, TooLarge), item(3, TooLarge)}, reason, false},
		{"the drain's fault before a record's", func(o *Outcome) { o.Fail(whole(Rejected), 1); o.Fail(whole(Misconfigured), 0) }, Misconfigured,
			[]Item{item(0, Misconfigured), item(1, Rejected), unsent(2), unsent(3)}, reason, true},
		{"an answer refuses one", func(o *Outcome) { o.Deliver(0); o.Deliver(1); o.FailItem(item(3, Rejected)); o.Deliver(2) }, Rejected,
			[]Item{item(3, Rejected)}, "1 of 4 records", false},
		{"answers refuse some, a request fails", func(o *Outcome) { o.FailItem(item(2, Rejected)); o.Fail(whole(Retry), 0, 3); o.Deliver(1) }, Retry,
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
			if e == nil || e.Verdict != c.verdict || e.Status != 418 || !slices.Equal(e.Items, c.items) || !strings.Contains(e.Reason, c.words) || o.Stopped() != c.stopped {
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

func TestSplit(t *testing.T) {
	var operations []*schema.Operation
	for _, id := range []string{"1", "2", "3", "10", "41", "42", "1041", "999999"} {
		operations = append(operations, &schema.Operation{ID: id})
	}
	var batch []Entry
	for i := range 8000 {
		batch = append(batch, Entry{operations[i/3%len(operations)], &schema.Record{Sequence: uint64(i)}})
	}
	var s Splitter
	for most, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 4, 7: 4, 8: 8, 100: 8} {
		lanes := s.Split(batch, most)
		if len(lanes) > want || len(lanes) <= want/2 {
			t.Errorf("%d lanes of %d at the most", len(lanes), most)
		}
		lane := make(map[*schema.Operation]int)
		seen := 0
		for n, indices := range lanes {
			seen += len(indices)
			if !slices.IsSorted(indices) || len(slices.Compact(slices.Clone(indices))) != len(indices) {
				t.Fatal("a lane is not in order")
			}
			for _, i := range indices {
				if other, ok := lane[batch[i].Operation]; ok && other != n {
					t.Fatalf("operation %s is in two lanes", batch[i].Operation.ID)
				}
				lane[batch[i].Operation] = n
			}
		}
		if seen != len(batch) {
			t.Fatalf("%d entries of %d", seen, len(batch))
		}
		// What was not delivered of one lane stays together, however little that is.
		var left []Entry
		for _, i := range lanes[0] {
			left = append(left, batch[i])
		}
		for len(left) > 0 {
			if again := new(Splitter).Split(left, most); len(again) != 1 || len(again[0]) != len(left) {
				t.Fatalf("%d entries of one lane are %d lanes when they are repeated", len(left), len(again))
			}
			left = left[:len(left)/2]
		}
	}
	if lanes := s.Split(batch[:laneRecords-1], 8); len(lanes) != 1 {
		t.Errorf("a small batch is sent in %d requests", len(lanes))
	}
}
