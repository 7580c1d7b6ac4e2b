package growth

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// The live traffic during the measurement. It is low enough for machines with slow disks.
const (
	catchupSessions = 20
	catchupLines    = 500 // a second
	catchupBurst    = 5
)

// catchup measures a drain that comes up with a large backlog, while other drains receive live
// lines.
type catchup struct {
	scenario
}

func (d *catchup) Name() string { return "catchup" }

func (d *catchup) Run(ctx context.Context) (measure.Sample, error) {
	const down = "down"
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.Profile(d.Name(), d.runs)}, receivers.WitnessSetup{Protocol: "https", Latency: true, Down: down})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	filled, err := sc.doAll(flowOrder{Do: doEnrich},
		flowOrder{Do: doRoute, Drains: []namedDrain{sc.drain("https", "live-1"), sc.drain("https", "live-2"), sc.drain("https", down)}},
		flowOrder{Do: doFill, Sessions: s.Sessions, Lines: s.Backlog})
	if err != nil {
		return nil, err
	}
	// End the latency window of the backlog now: the witness accepts no records while it sorts
	// millions of latencies.
	if _, err := sc.witness.Query(receivers.WitnessQuestion{Drains: 2, Sessions: filled.Sessions, Window: true}); err != nil {
		return nil, err
	}
	if _, err := sc.do(flowOrder{Do: doLive, Sessions: catchupSessions, Rate: catchupLines, Burst: catchupBurst}); err != nil {
		return nil, err
	}
	calmTime := s.LatencyTime / 3
	if err := pass(ctx, calmTime/5); err != nil {
		return nil, err
	}
	if _, err := sc.witness.Query(receivers.WitnessQuestion{Window: true}); err != nil {
		return nil, err
	}
	calm := time.Now()
	if err := pass(ctx, calmTime); err != nil {
		return nil, err
	}
	idle, err := sc.do(flowOrder{Do: doReport})
	if err != nil {
		return nil, err
	}
	before, err := sc.witness.Query(receivers.WitnessQuestion{Window: true, Up: down})
	if err != nil {
		return nil, err
	}
	calmTook, began := time.Since(calm), time.Now()
	if _, err := sc.do(flowOrder{Do: doRetry, Drain: down}); err != nil {
		return nil, err
	}
	// Lines that are shown now are delivered after the backlog.
	during, err := sc.witness.Query(receivers.WitnessQuestion{Window: true, Drain: down, Records: filled.Records})
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, end, got, err := sc.finishLive(3)
	if err != nil {
		return nil, err
	}
	for name, t := range got.Drains {
		// The last answer of the drain that was down may have been lost.
		if err := t.Verify(end.Records, end.Sessions, name == down); err != nil {
			return nil, err
		}
	}
	worst := func(w receivers.Observation) float64 {
		return max(w.Drains["live-1"].Latency.P99, w.Drains["live-2"].Latency.P99)
	}
	return measure.Sample{
		measure.CatchupBacklog: float64(filled.Records), measure.CatchupRate: float64(filled.Records) / took.Seconds(),
		measure.CatchupCPU:    (after.Processor - idle.Processor).Seconds() / float64(filled.Records) * 1e6,
		measure.CatchupBefore: worst(before), measure.CatchupDuring: worst(during),
		measure.CatchupLive: float64(before.Drains["live-1"].Latency.N) / calmTook.Seconds(),
	}, nil
}
