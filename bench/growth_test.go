package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/report"
)

func smallGrowth(t *testing.T) *measure.Settings {
	s := smallSettings(t)
	s.Runs = 1
	// In memory, because the speed of the disk is not tested.
	if dir, err := os.MkdirTemp("/dev/shm", "ttydrain-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		s.Base = dir
	}
	s.GrowthSettings = measure.GrowthSettings{
		LatencyTime: 500 * time.Millisecond, LiveSessions: 3, LiveRate: 150, LiveBurst: 2, Soak: 2500 * time.Millisecond, Backlog: 100_000, GrowthLines: 1000,
	}
	return s
}

// TestGrowth measures everything of package growth with small numbers. A run fails unless every
// record has arrived, once and in order.
func TestGrowth(t *testing.T) {
	s := smallGrowth(t)
	results, err := benchmark(t.Context(), s, []string{"latency", "fanout/1", "fanout/10", "catchup", "growth", "soak"})
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(s, results)
	table := r.Markdown()
	want := map[string][]string{
		"latency/https": {measure.LatencyP50, measure.LatencyP99, measure.LatencyMax, measure.LatencyRate, measure.LatencyCPU}, "latency/syslog": {measure.LatencyP50, measure.LatencyP999}, "latency/https/single": {measure.LatencyP50},
		"fanout/1": {measure.GrowthCPU, measure.GrowthUnitCPU, measure.SinkCPU, measure.GrowthPeak}, "fanout/10": {measure.GrowthCPU, measure.FanoutExtra, measure.FanoutEnriched},
		"catchup":           {measure.CatchupBacklog, measure.CatchupRate, measure.CatchupCPU, measure.CatchupBefore, measure.CatchupLive},
		"growth/sessions/1": {measure.GrowthUnits, measure.GrowthCPU, measure.GrowthWall, measure.GrowthPeak}, "growth/lines/1000": {measure.GrowthUnits, measure.GrowthUnitCPU},
		"soak": {measure.SoakTime, measure.SoakRate, measure.SoakCPU, measure.SoakResident, measure.SoakMean, measure.SoakHeap},
	}
	if len(results) != len(want) {
		t.Errorf("%d subjects were measured, expected %d", len(results), len(want))
	}
	for subject, metrics := range want {
		one := r.Result(subject)
		if len(one.Samples) != 1 {
			t.Errorf("%s: %d runs (%s)", subject, len(one.Samples), one.Missing)
			continue
		}
		for _, metric := range metrics {
			if v := one.Samples[0][metric]; !(v > 0) {
				t.Errorf("%s: %s is %v", subject, metric, v)
			}
			if report.How[metric] == "" {
				t.Errorf("nothing says how %s is measured", metric)
			}
		}
		if !strings.Contains(table, "\n| "+report.TitleOf(subject)+" | ") {
			t.Errorf("the table has no row of %s:\n%s", subject, table)
		}
	}
	plots, err := r.GrowthPlots()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := report.WritePlots(dir, plots); err != nil {
		t.Fatal(err)
	}
	shown := report.Images("plots", plots)
	for _, name := range []string{"soak", "growth-drains"} {
		if !strings.Contains(shown, "](plots/"+name+".svg)") {
			t.Errorf("no image of %s:\n%s", name, shown)
		}
		if info, err := os.Stat(filepath.Join(dir, name+".svg")); err != nil || info.Size() == 0 {
			t.Errorf("no plot %s: %v", name, err)
		}
	}
}
