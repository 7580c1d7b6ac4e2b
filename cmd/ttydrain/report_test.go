package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/report"
	"github.com/ttydrain/ttydrain/schema"
)

// TestRefusals checks that dead letters are counted once, of which each response has at most three.
func TestRefusals(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 11, 1, 0, 0, second, 0, time.UTC) }
	var letters []operate.Letter
	for i, second := range []int{1, 2, 2, 3, 3, 4, 5, 6} {
		letters = append(letters, operate.Letter{Number: uint64(10 + i), DeadLetter: &schema.DeadLetter{
			Drain: []string{"siem", "search"}[i%2], Reason: []string{"too long", "too long", "too old", "too long"}[i%4], Time: at(second)}})
	}
	counts, err := addCounts(func(after uint64) (part operate.LetterCounts, err error) {
		rest := slices.DeleteFunc(slices.Clone(letters), func(l operate.Letter) bool { return l.Number <= after })
		for i, l := range rest[:min(len(rest), 3)] {
			part.Add(&operate.LetterCounts{Groups: []operate.LetterGroup{{Drain: l.Drain, Reason: l.Reason, Letters: 1, Oldest: l.Time, Newest: l.Time}}, Last: l.Number})
			if i < len(rest)-1 {
				part.Next = l.Number
			}
		}
		return part, nil
	}, nil)
	got := refusals(&counts)
	want := []report.Refusal{
		{Drain: "siem", Reason: "too long", Records: 2, First: at(1), Last: at(3)}, {Drain: "search", Reason: "too long", Records: 4, First: at(2), Last: at(6)},
		{Drain: "siem", Reason: "too old", Records: 2, First: at(2), Last: at(5)},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// TestEventOf checks that fields of the audit trail that the report does not know are details.
func TestEventOf(t *testing.T) {
	var fields map[string]any
	data := `{"index":17,"time":"2026-11-01T00:00:01Z","kind":"session.kill","actor":"Grace","via":"token","from":"192.0.2.9","outcome":"failed","status":404,"operations":["42","43"]}`
	if err := json.Unmarshal([]byte(data), &fields); err != nil {
		t.Fatal(err)
	}
	got, err := eventOf(fields)
	want := report.Event{Index: 17, Time: time.Date(2026, 11, 1, 0, 0, 1, 0, time.UTC), Kind: "session.kill", Actor: "Grace", Via: "token", From: "192.0.2.9",
		Outcome: "failed", Details: map[string]string{"status": "404", "operations": "42 43"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
