package schema

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestDeadLetter(t *testing.T) {
	seg := testSegment()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.FixedZone("", 3600))
	for i := range seg.Records {
		r := &seg.Records[i]
		letter, err := NewDeadLetter("siem", "the drain takes no such record", 422, at, seg.Operation, r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(letter)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			golden(t, "v1/deadletter.json", data)
		}
		var got DeadLetter
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, letter) {
			t.Errorf("read again: %+v, was %+v", got, *letter)
		}
		if !got.Time.Equal(at) || got.Operation != "4711" || got.Sequence != r.Sequence || got.Drain != "siem" || got.Status != 422 {
			t.Errorf("dead letter %+v", got)
		}
		var d Decoder
		s, err := d.Segment(got.Segment)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Records) != 1 || *s.Operation != *seg.Operation {
			t.Fatalf("the letter has %d records of %+v", len(s.Records), *s.Operation)
		}
		if have, want := encodeRecord(t, s.Operation, &s.Records[0]), encodeRecord(t, seg.Operation, r); string(have) != string(want) {
			t.Errorf("the letter has %s, want %s", have, want)
		}
	}
	for drain, want := range map[string]string{"siem": "deadletter.siem.4711.", "a.b >": "deadletter.a=2Eb=20=3E.4711.", "": "deadletter.=.4711."} {
		l := &DeadLetter{Drain: drain, Operation: "4711", Sequence: 12}
		if got := SubjectDeadLetter(l); got != want+"12" {
			t.Errorf("the letter of %q is on %s, want %s12", drain, got, want)
		}
		l.Gap = true
		if got := SubjectDeadLetter(l); got != want+"12.gap" {
			t.Errorf("the letter of a gap of %q is on %s, want %s12.gap", drain, got, want)
		}
	}
	for drain, want := range map[string]string{"siem": "deadletter.siem.>", "": "deadletter.>"} {
		if got := FilterDeadLetters(drain); got != want {
			t.Errorf("the letters of %q match %s, want %s", drain, got, want)
		}
	}
}
