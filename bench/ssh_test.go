package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/report"
)

// TestManySessions opens a few sessions. A run fails unless every echo is right.
func TestManySessions(t *testing.T) {
	need(t, "stty")
	s := smallSettings(t)
	s.Terminals, s.Typing = 6, time.Second
	results, err := benchmark(t.Context(), s, []string{"sessions/ttydrain"})
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(s, results)
	table := r.Markdown()
	one := r.Result("sessions/ttydrain")
	if len(one.Samples) != 1 {
		t.Fatalf("%d runs (%s)", len(one.Samples), one.Missing)
	}
	got := one.Samples[0]
	if got[measure.SessionsOpen] != 6 || got[measure.SessionsP50] <= 0 || got[measure.SessionsP99] < got[measure.SessionsP50] || got[measure.SessionsEcho] <= 0 || got[measure.ServerMoreKiB] <= 0 {
		t.Errorf("%v", got)
	}
	if !strings.Contains(table, "\n| ttydrain | 6 | ") {
		t.Errorf("the table has no row of it:\n%s", table)
	}
	if !strings.Contains(table, "bar: the gateway's memory per session ≤ 256 KiB: ") {
		t.Errorf("nothing is said of the bar:\n%s", table)
	}
}
