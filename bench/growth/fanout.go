package growth

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// fanoutLines is the number of lines for each drain. Settings.GrowthLines is an upper limit.
const fanoutLines = 50_000

// A fanout measures the delivery of the same sessions to a number of drains.
type fanout struct {
	scenario
	drains   int
	baseline *baseline
}

// baseline has the CPU time of the last round with one drain, or 0. Rounds with more drains are
// compared with it.
type baseline struct{ processor float64 }

func fanouts() measure.Group {
	one := new(baseline)
	return measure.Group{&fanout{drains: 1, baseline: one}, &fanout{drains: 10, baseline: one}, &fanout{drains: 100, baseline: one}}
}

func (d *fanout) Name() string { return "fanout/" + strconv.Itoa(d.drains) }

// Run measures from the start of the enricher and the router to the arrival of the last record at
// the last drain. The unit of work is a record that arrived at a drain.
func (d *fanout) Run(ctx context.Context) (measure.Sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.Profile(d.Name(), d.runs)}, receivers.WitnessSetup{Protocol: "https"})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	var drains []namedDrain
	for i := range d.drains {
		drains = append(drains, sc.drain("https", "drain-"+strconv.Itoa(i+1)))
	}
	lines := min(fanoutLines, s.GrowthLines)
	result, filled, err := sc.deliver(ctx, flowOrder{Do: doFill, Sessions: s.Sessions, Lines: lines}, drains)
	if err != nil {
		return nil, err
	}
	result[measure.GrowthUnits] = float64(d.drains)
	result[measure.GrowthUnitCPU] = result[measure.GrowthCPU] / float64(d.drains*filled.Records) * 1e6
	// The cost of the sink alone, for the same records.
	alone := sc.drain("https", "alone")
	written, err := sc.do(flowOrder{Do: doWrite, Drains: []namedDrain{alone}})
	if err != nil {
		return nil, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Drain: alone.Name, Records: filled.Records})
	if err != nil {
		return nil, err
	}
	if err := got.Drains[alone.Name].Verify(filled.Records, filled.Sessions, false); err != nil {
		return nil, err
	}
	result[measure.SinkCPU] = written.Written.Seconds() / float64(filled.Records) * 1e6
	switch {
	case d.drains == 1:
		d.baseline.processor = result[measure.GrowthCPU]
	case d.baseline.processor > 0:
		result[measure.FanoutExtra] = (result[measure.GrowthCPU] - d.baseline.processor) / float64(d.drains-1) / written.Written.Seconds()
	}
	return result, nil
}

// deliver publishes sessions, then enriches and routes them to the drains, and measures the latter.
func (sc *scene) deliver(ctx context.Context, fill flowOrder, drains []namedDrain) (measure.Sample, flowState, error) {
	filled, err := sc.do(fill)
	if err != nil {
		return nil, filled, err
	}
	receiver, err := sc.witness.Query(receivers.WitnessQuestion{})
	if err != nil {
		return nil, filled, err
	}
	began := time.Now()
	if _, err := sc.doAll(flowOrder{Do: doEnrich}, flowOrder{Do: doRoute, Drains: drains}); err != nil {
		return nil, filled, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Drains: len(drains), Sessions: filled.Sessions})
	took := time.Since(began)
	if err != nil {
		return nil, filled, err
	}
	after, err := sc.do(flowOrder{Do: doReport})
	if err != nil {
		return nil, filled, err
	}
	repeats := 0
	for name, t := range got.Drains {
		// If the disk is too slow to save the positions of a hundred drains, they redeliver.
		if err := t.Verify(filled.Records, filled.Sessions, true); err != nil {
			return nil, filled, fmt.Errorf("%s: %w", name, err)
		}
		repeats += t.Repeats
	}
	// There are fewer if the enricher restarted and found segments on LOGS whose acknowledgements it
	// had not received.
	if after.Enriched > filled.Records {
		return nil, filled, fmt.Errorf("%d records were enriched, expected %d", after.Enriched, filled.Records)
	}
	return measure.Sample{
		measure.GrowthCPU: (after.Processor - filled.Processor).Seconds(), measure.GrowthWall: took.Seconds(), measure.GrowthPeak: float64(after.Memory.Peak) / measure.Megabyte,
		measure.GrowthRepeats:  float64(repeats) / float64(len(drains)*filled.Records),
		measure.GrowthReceiver: (got.Processor - receiver.Processor).Seconds(), measure.FanoutEnriched: float64(after.Enriched) / float64(filled.Records),
	}, filled, nil
}
