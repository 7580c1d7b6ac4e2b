package growth

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// A latencySubject measures the time of a line from the terminal to the drain, while many sessions
// show lines at an even pace.
type latencySubject struct {
	scenario
	key   string // returned by Name
	kind  string // of drain
	burst int    // lines at once; 0 for Settings.LiveBurst
	curve measure.Curve
}

func latencies() measure.Group {
	return measure.Group{
		&latencySubject{key: "latency/https", kind: "https"},
		&latencySubject{key: "latency/syslog", kind: "syslog"},
		&latencySubject{key: "latency/https/single", kind: "https", burst: 1},
	}
}

func (d *latencySubject) Name() string { return d.key }

func (d *latencySubject) Run(ctx context.Context) (measure.Sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.Profile(d.Name(), d.runs)}, receivers.WitnessSetup{Protocol: d.kind, Latency: true})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	_, err = sc.doAll(flowOrder{Do: doEnrich}, flowOrder{Do: doRoute, Drains: []namedDrain{sc.drain(d.kind, d.kind)}},
		flowOrder{Do: doLive, Sessions: s.LiveSessions, Rate: s.LiveRate, Burst: cmp.Or(d.burst, s.LiveBurst)})
	if err != nil {
		return nil, err
	}
	// The start of all sessions is not measured.
	if err := pass(ctx, s.LatencyTime/5); err != nil {
		return nil, err
	}
	before, err := sc.do(flowOrder{Do: doReport})
	if err != nil {
		return nil, err
	}
	if _, err := sc.witness.Query(receivers.WitnessQuestion{Window: true}); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pass(ctx, s.LatencyTime); err != nil {
		return nil, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Window: true})
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	after, end, last, err := sc.finishLive(1)
	if err != nil {
		return nil, err
	}
	if err := last.Drains[d.kind].Verify(end.Records, end.Sessions, false); err != nil {
		return nil, err
	}
	l := got.Drains[d.kind].Latency
	if l.Min < 0 {
		return nil, fmt.Errorf("a record arrived %.3f ms before it was shown", -l.Min)
	}
	d.curve = l.Curve
	result := measure.Sample{measure.LatencyP50: l.P50, measure.LatencyP99: l.P99, measure.LatencyP999: l.P999, measure.LatencyMax: l.Max, measure.LatencyRate: float64(l.N) / took.Seconds(),
		measure.LatencyCPU: (after.Processor - before.Processor).Seconds() / float64(l.N) * 1e6}
	for stage, ms := range after.Stages {
		result[measure.LatencyStages+stage] = ms
	}
	return result, nil
}

func (d *latencySubject) Curves() map[string]measure.Curve {
	return map[string]measure.Curve{"latency": d.curve}
}
