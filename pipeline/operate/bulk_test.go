package operate

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A pickySink refuses records with an even sequence.
type pickySink struct{ got []uint64 }

func (s *pickySink) Write(_ context.Context, batch []sinks.Entry) error {
	if n := batch[0].Record.Sequence; n%2 == 0 {
		return &sinks.Error{Verdict: sinks.Rejected, Status: 422, Reason: "even"}
	} else {
		s.got = append(s.got, n)
	}
	return nil
}
func (s *pickySink) Probe(context.Context) error { return nil }
func (s *pickySink) Close() error                { return nil }

// TestBulk holds that operations on many dead letters affect exactly the selected ones, that one
// that fails remains and does not stop the others, and that a repetition does nothing twice.
func TestBulk(t *testing.T) {
	o := openOperator(t)
	sink := new(pickySink)
	for _, name := range []string{"siem", "other"} {
		o.Drains = append(o.Drains, drain.Drain{Name: name, Open: func() (sinks.Sink, error) { return sink, nil }})
	}
	began := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	op := &schema.Operation{ID: "1", App: "web", Stack: "default", Started: began}
	publish := func(name, reason string, sequence uint64) {
		t.Helper()
		record := schema.Record{Event: schema.EventOutput, Sequence: sequence, Time: began.UnixNano(), Log: []byte("x\n"), Text: []byte("x")}
		l, err := schema.NewDeadLetter(name, reason, 400, began.Add(time.Duration(sequence)*time.Minute), op, &record)
		if err == nil {
			err = o.Bus.PublishDeadLetter(t.Context(), l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(6) {
		publish("siem", "too old", n+1) // numbers 1 to 6
	}
	publish("siem", "too new", 7)
	publish("other", "too old", 8)
	counts := func(f LetterFilter) (text string) {
		t.Helper()
		c, err := o.CountDeadLetters(t.Context(), f)
		if err != nil || c.Next != 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		for _, g := range c.Groups {
			text += fmt.Sprintf("%s %s %d, ", g.Drain, g.Reason, g.Letters)
		}
		return text + fmt.Sprint(c.Last)
	}
	for _, test := range []struct {
		f    LetterFilter
		want string
	}{
		{LetterFilter{}, "siem too old 6, other too old 1, siem too new 1, 8"},
		{LetterFilter{Drain: "siem", Reason: "too old", After: 1, Last: 4}, "siem too old 3, 4"},
		{LetterFilter{Since: began.Add(2 * time.Minute), Until: began.Add(4 * time.Minute)}, "siem too old 2, 3"},
		{LetterFilter{Reason: "none"}, "0"},
	} {
		if got := counts(test.f); got != test.want {
			t.Errorf("%+v: %s, want %s", test.f, got, test.want)
		}
	}
	old := LetterFilter{Drain: "siem", Reason: "too old", Last: 5}
	for i, done := range []uint64{3, 0} {
		r, err := o.RedeliverAll(t.Context(), old)
		if err != nil || r.Done != done || r.Failed != 2 || len(r.Failures) != 1 || r.Failures[0].Letters != 2 || r.Failures[0].First != 2 || r.Next != 0 {
			t.Errorf("redelivery %d: %+v, %v", i, r, err)
		}
	}
	if fmt.Sprint(sink.got) != "[1 3 5]" {
		t.Errorf("the drain got %v", sink.got)
	}
	if r, err := o.DiscardAll(t.Context(), old); err != nil || r.Done != 2 || r.Failed != 0 {
		t.Errorf("discarded %+v, %v", r, err)
	}
	if got := counts(LetterFilter{}); got != "other too old 1, siem too new 1, siem too old 1, 8" {
		t.Errorf("left: %s", got)
	}
	done := time.Now().Add(-time.Second) // a request that takes too long continues after its first letter
	next, err := o.each(t.Context(), LetterFilter{}, done, func(uint64, *schema.DeadLetter) bool { return true })
	if err != nil || next != 6 {
		t.Errorf("next is %d, %v", next, err)
	}
}
