package growth

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// The traffic that two drains get meanwhile. It is less than what a machine with slow disks stores.
const (
	catchupSessions = 20
	catchupLines    = 500 // a second
	catchupBurst    = 5
)

// catchup is a drain that was down for many lines and is there again, while others get what is
// shown now.
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
	filled, err := sc.tellAll(flowOrder{Do: doEnrich},
		flowOrder{Do: doRoute, Drains: []namedDrain{sc.drain("https", "live-1"), sc.drain("https", "live-2"), sc.drain("https", down)}},
		flowOrder{Do: doFill, Sessions: s.Sessions, Lines: s.Backlog})
	if err != nil {
		return nil, err
	}
	// The window of all these is over now: the witness, which sorts millions of times then, takes
	// nothing meanwhile.
	if _, err := sc.witness.Query(receivers.WitnessQuestion{Drains: 2, Sessions: filled.Sessions, Window: true}); err != nil {
		return nil, err
	}
	if _, err := sc.tell(flowOrder{Do: doLive, Sessions: catchupSessions, Rate: catchupLines, Burst: catchupBurst}); err != nil {
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
	idle, err := sc.tell(flowOrder{Do: doLook})
	if err != nil {
		return nil, err
	}
	before, err := sc.witness.Query(receivers.WitnessQuestion{Window: true, Up: down})
	if err != nil {
		return nil, err
	}
	calmTook, began := time.Since(calm), time.Now()
	if _, err := sc.tell(flowOrder{Do: doRetry, Drain: down}); err != nil {
		return nil, err
	}
	// What is shown meanwhile is behind the backlog.
	during, err := sc.witness.Query(receivers.WitnessQuestion{Window: true, Drain: down, Records: filled.Records})
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := sc.tell(flowOrder{Do: doLook})
	if err != nil {
		return nil, err
	}
	end, err := sc.quiet()
	if err != nil {
		return nil, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Drains: 3, Sessions: end.Sessions})
	if err != nil {
		return nil, err
	}
	for name, t := range got.Drains {
		// What a drain that was down answers last may be lost.
		if err := t.Verify(end.Records, end.Sessions, name == down); err != nil {
			return nil, err
		}
	}
	worst := func(w receivers.Witnessed) float64 {
		return max(w.Drains["live-1"].Latency.P99, w.Drains["live-2"].Latency.P99)
	}
	return measure.Sample{
		measure.CatchupBacklog: float64(filled.Records), measure.CatchupRate: float64(filled.Records) / took.Seconds(),
		measure.CatchupCPU:    (after.Processor - idle.Processor).Seconds() / float64(filled.Records) * 1e6,
		measure.CatchupBefore: worst(before), measure.CatchupDuring: worst(during),
		measure.CatchupLive: float64(before.Drains["live-1"].Latency.N) / calmTook.Seconds(),
	}, nil
}
