package main

import (
	"slices"
	"strings"
	"testing"
)

// TestBars holds how it is judged what ttydrain reaches, of figures that are made up.
func TestBars(t *testing.T) {
	of := func(subject string, rates, seconds []float64) result {
		r := result{Subject: subject}
		for i := range rates {
			r.Samples = append(r.Samples, sample{recordsPerSecond: rates[i], secondsPerMillion: seconds[i]})
		}
		return r
	}
	limit := of("limit/https/ndjson", []float64{1000, 500, 900}, []float64{1, 1, 1})
	ours := of("https/ndjson", []float64{800, 450, 810}, []float64{4, 3, 5})
	fast := of("syslog-ng/https/ndjson", []float64{400, 250, 300}, []float64{10, 20, 15})
	thrifty := of("fluent-bit/https/ndjson", []float64{100, 100, 100}, []float64{7, 7, 7})
	lost := result{Subject: "telegraf/https/ndjson", Missing: "error: 1 records arrived of the 2 that the ends of the sessions tell of"}
	for _, c := range []struct {
		name    string
		results []result
		bars    []string
	}{
		{"all", []result{limit, ours, fast, lost, thrifty}, []string{
			"bar: records/s ≥ 2 × the fastest peer: 2.00, reached",
			"bar: records/s ≥ 0.8 × the limit: 0.90, reached",
			"bar: processor time ≤ 0.5 × the thriftiest peer: 0.57, **missed**",
		}},
		{"slower, and thriftier than all", []result{limit, of("https/ndjson", []float64{700, 390, 599}, []float64{3, 3, 4}), fast, thrifty}, []string{
			"bar: records/s ≥ 2 × the fastest peer: 1.75, **missed**",
			"bar: records/s ≥ 0.8 × the limit: 0.70, **missed**",
			"bar: processor time ≤ 0.5 × the thriftiest peer: 0.43, reached",
		}},
		{"no peers", []result{limit, ours, lost}, []string{
			"bar: records/s ≥ 2 × the fastest peer: not known, since the fastest peer or ttydrain was not measured",
			"bar: records/s ≥ 0.8 × the limit: 0.90, reached",
			"bar: processor time ≤ 0.5 × the thriftiest peer: not known, since the thriftiest peer or ttydrain was not measured",
		}},
	} {
		r := newReport(&settings{runs: 3}, c.results)
		var got []string
		for _, j := range r.Compared["https/ndjson"].Bars {
			got = append(got, j.String())
		}
		if !slices.Equal(got, c.bars) {
			t.Errorf("%s:\n%s\nexpected\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.bars, "\n"))
		}
		table := r.markdown()
		if strings.Contains(table, "JetStream, read") || c.results[len(c.results)-1].Missing != "" && !strings.Contains(table, "| not measured: error: 1 records arrived of the 2 ") {
			t.Errorf("%s: the tables are not those of what was measured:\n%s", c.name, table)
		}
	}
}

func TestComparisonsAreChosen(t *testing.T) {
	for chosen, want := range map[string][]string{
		"compare/jetstream": {"limit/jetstream/lines", "limit/jetstream/segments"},
		"compare/syslog":    {"limit/syslog", "syslog", "rsyslog/syslog", "syslog-ng/syslog", "telegraf/syslog", "redpanda-connect/syslog", "fluent-bit/syslog"},
		"compare/https":     nil,
		"syslog":            nil, // by its name alone
	} {
		var got []string
		for _, g := range comparisonGroups() {
			for _, one := range g {
				if isCompared(one.name(), chosen) {
					got = append(got, one.name())
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q chooses %q, expected %q", chosen, got, want)
		}
	}
	// Whatever is measured has a row, and the other way round.
	var measured, rows []string
	for _, g := range comparisonGroups() {
		for _, one := range g {
			measured = append(measured, one.name())
		}
	}
	for _, c := range comparisons {
		rows = append(rows, c.subjects()...)
	}
	if !slices.Equal(slices.Sorted(slices.Values(measured)), slices.Sorted(slices.Values(rows))) {
		t.Errorf("these are measured:\n%q\nand these have rows:\n%q", measured, rows)
	}
}
