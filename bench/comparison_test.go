package main

import (
	"slices"
	"testing"

	"github.com/ttydrain/ttydrain/bench/peers"
	"github.com/ttydrain/ttydrain/bench/report"
)

func TestIsCompared(t *testing.T) {
	for chosen, want := range map[string][]string{
		"compare/jetstream": {"limit/jetstream/lines", "limit/jetstream/segments"},
		"compare/syslog":    {"limit/syslog", "syslog", "rsyslog/syslog", "syslog-ng/syslog", "telegraf/syslog", "redpanda-connect/syslog", "fluent-bit/syslog"},
		"compare/https":     nil,
		"syslog":            nil, // chosen by its name only
	} {
		var got []string
		for _, g := range peers.Groups() {
			for _, one := range g {
				if report.IsCompared(one.Name(), chosen) {
					got = append(got, one.Name())
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q chooses %q, expected %q", chosen, got, want)
		}
	}
	// Every measured subject has a row, and every row a subject.
	var measured []string
	for _, g := range peers.Groups() {
		for _, one := range g {
			measured = append(measured, one.Name())
		}
	}
	rows := report.ComparedSubjects()
	if !slices.Equal(slices.Sorted(slices.Values(measured)), slices.Sorted(slices.Values(rows))) {
		t.Errorf("these are measured:\n%q\nand these have rows:\n%q", measured, rows)
	}
}
