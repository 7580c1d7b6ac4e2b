package main

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Metrics of latency.
const (
	latencyP50    = "latency_p50_ms"
	latencyP99    = "latency_p99_ms"
	latencyP999   = "latency_p999_ms"
	latencyMax    = "latency_max_ms"
	latencyRate   = "shown_lines_per_second"
	latencyCPU    = "live_processor_seconds_per_million_lines"
	latencyStages = "stage_p99_ms_" // and the stage
)

// latencySubject is how long a line takes from the terminal to the drain, while many sessions show
// lines at an even pace.
type latencySubject struct {
	scenario
	key   string // its name
	kind  string // of drain
	burst int    // lines at once; 0 for settings.liveBurst
	curve curve
}

func latencies() group {
	return group{
		&latencySubject{key: "latency/https", kind: "https"},
		&latencySubject{key: "latency/syslog", kind: "syslog"},
		&latencySubject{key: "latency/https/single", kind: "https", burst: 1},
	}
}

func (d *latencySubject) name() string { return d.key }

func (d *latencySubject) run(ctx context.Context) (sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.profile(d.name(), d.runs)}, witnessSetup{Protocol: d.kind, Latency: true})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	_, err = sc.tellAll(flowOrder{Do: doEnrich}, flowOrder{Do: doRoute, Drains: []namedDrain{sc.drain(d.kind, d.kind)}},
		flowOrder{Do: doLive, Sessions: s.liveSessions, Rate: s.liveRate, Burst: cmp.Or(d.burst, s.liveBurst)})
	if err != nil {
		return nil, err
	}
	// What the beginning of all sessions at once costs is not measured.
	if err := pass(ctx, s.latencyTime/5); err != nil {
		return nil, err
	}
	before, err := sc.tell(flowOrder{Do: doLook})
	if err != nil {
		return nil, err
	}
	if _, err := sc.witness.asks(witnessQuestion{Window: true}); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pass(ctx, s.latencyTime); err != nil {
		return nil, err
	}
	got, err := sc.witness.asks(witnessQuestion{Window: true})
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	after, err := sc.tell(flowOrder{Do: doLook})
	if err != nil {
		return nil, err
	}
	end, err := sc.quiet()
	if err != nil {
		return nil, err
	}
	last, err := sc.witness.asks(witnessQuestion{Drains: 1, Sessions: end.Sessions})
	if err != nil {
		return nil, err
	}
	if err := last.Drains[d.kind].exact(end.Records, end.Sessions, false); err != nil {
		return nil, err
	}
	l := got.Drains[d.kind].Latency
	if l.Min < 0 {
		return nil, fmt.Errorf("a record arrived %.3f ms before it was shown", -l.Min)
	}
	d.curve = l.Curve
	result := sample{latencyP50: l.P50, latencyP99: l.P99, latencyP999: l.P999, latencyMax: l.Max, latencyRate: float64(l.N) / took.Seconds(),
		latencyCPU: (after.Processor - before.Processor).Seconds() / float64(l.N) * 1e6}
	for stage, ms := range after.Stages {
		result[latencyStages+stage] = ms
	}
	return result, nil
}

func (d *latencySubject) curves() map[string]curve { return map[string]curve{"latency": d.curve} }
