package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// TestBars judges bars by invented figures.
func TestBars(t *testing.T) {
	of := func(subject string, rates, seconds []float64) measure.Result {
		r := measure.Result{Subject: subject}
		for i := range rates {
			r.Samples = append(r.Samples, measure.Sample{measure.RecordsPerSecond: rates[i], measure.SecondsPerMillion: seconds[i]})
		}
		return r
	}
	limit := of("limit/https/ndjson", []float64{1000, 500, 900}, []float64{1, 1, 1})
	ours := of("https/ndjson", []float64{800, 450, 810}, []float64{4, 3, 5})
	fast := of("syslog-ng/https/ndjson", []float64{400, 250, 300}, []float64{10, 20, 15})
	thrifty := of("fluent-bit/https/ndjson", []float64{100, 100, 100}, []float64{7, 7, 7})
	lost := measure.Result{Subject: "telegraf/https/ndjson", Missing: "error: 1 records arrived, but the ends of the sessions report 2"}
	for _, c := range []struct {
		name    string
		results []measure.Result
		bars    []string
	}{
		{"all", []measure.Result{limit, ours, fast, lost, thrifty}, []string{
			"bar: records/s ≥ 2 × the fastest peer: 2.00, reached",
			"bar: records/s ≥ 0.8 × the limit: 0.90, reached",
			"bar: processor time ≤ 0.5 × the thriftiest peer: 0.57, **missed**",
		}},
		{"slower, and thriftier than all", []measure.Result{limit, of("https/ndjson", []float64{700, 390, 599}, []float64{3, 3, 4}), fast, thrifty}, []string{
			"bar: records/s ≥ 2 × the fastest peer: 1.75, **missed**",
			"bar: records/s ≥ 0.8 × the limit: 0.70, **missed**",
			"bar: processor time ≤ 0.5 × the thriftiest peer: 0.43, reached",
		}},
		{"no peers", []measure.Result{limit, ours, lost}, []string{
			"bar: records/s ≥ 2 × the fastest peer: not known, since the fastest peer or ttydrain was not measured",
			"bar: records/s ≥ 0.8 × the limit: 0.90, reached",
			"bar: processor time ≤ 0.5 × the thriftiest peer: not known, since the thriftiest peer or ttydrain was not measured",
		}},
	} {
		r := New(&measure.Settings{Runs: 3}, c.results)
		var got []string
		for _, j := range r.Compared["https/ndjson"].Bars {
			got = append(got, j.String())
		}
		if !slices.Equal(got, c.bars) {
			t.Errorf("%s:\n%s\nexpected\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.bars, "\n"))
		}
		table := r.Markdown()
		if strings.Contains(table, "JetStream, read") || c.results[len(c.results)-1].Missing != "" && !strings.Contains(table, "| not measured: error: 1 records arrived, but ") {
			t.Errorf("%s: the tables are not those of what was measured:\n%s", c.name, table)
		}
	}
}
