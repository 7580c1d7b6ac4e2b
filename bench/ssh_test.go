package main

import (
	"strings"
	"testing"
	"time"
)

// TestManySessions opens few. That every echo is right is checked by the run itself.
func TestManySessions(t *testing.T) {
	need(t, "stty")
	s := smallSettings(t)
	s.terminals, s.typing = 6, time.Second
	results, err := benchmark(t.Context(), s, []string{"sessions/ttydrain"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(s, results)
	table := r.markdown()
	one := r.result("sessions/ttydrain")
	if len(one.Samples) != 1 {
		t.Fatalf("%d runs (%s)", len(one.Samples), one.Missing)
	}
	got := one.Samples[0]
	if got[sessionsOpen] != 6 || got[sessionsP50] <= 0 || got[sessionsP99] < got[sessionsP50] || got[sessionsEcho] <= 0 || got[serverMoreKiB] <= 0 {
		t.Errorf("%v", got)
	}
	if !strings.Contains(table, "\n| ttydrain | 6 | ") {
		t.Errorf("the table has no row of it:\n%s", table)
	}
	if !strings.Contains(table, "bar: the gateway's memory per session ≤ 256 KiB: ") {
		t.Errorf("nothing is said of the bar:\n%s", table)
	}
}

func TestSSHBars(t *testing.T) {
	results := []result{
		{Subject: "ssh/openssh", Samples: []sample{{echoP50: 0.1, catRate: 80}, {echoP50: 0.2, catRate: 50}, {echoP50: 0.1, catRate: 90}}},
		{Subject: "ssh/openssh+tlog", Samples: []sample{{catRate: 25}, {catRate: 20}, {catRate: 15}}},
		{Subject: "ssh/ttydrain", Samples: []sample{{echoP50: 0.5, catRate: 68}, {echoP50: 5.2, catRate: 45}, {echoP50: 0.4, catRate: 45}}},
		{Subject: "sessions/ttydrain", Samples: []sample{{serverKiB: 200, serverAllKiB: 5000}}},
	}
	got := strings.Join(newReport(&settings{}, results).SSHBars, "\n")
	const want = "bar: echo p50 ≤ OpenSSH's + 1 ms: 0.40, reached\n" +
		"bar: `cat` ≥ 0.8 × OpenSSH: 0.85, reached\n" +
		"bar: `cat` ≥ 3 × OpenSSH with tlog: 2.72, **missed**\n" +
		"bar: the gateway's memory per session ≤ 256 KiB: 200.00, reached\n" +
		"bar: the same with the session's init ≤ 256 KiB: 5000.00, **missed**"
	if got != want {
		t.Errorf("the bars are\n%s\nexpected\n%s", got, want)
	}
}
