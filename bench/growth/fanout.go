package growth

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// fanoutLines is how many lines each of the drains gets; settings.growthLines is for the most that
// there may be.
const fanoutLines = 50_000

// A fanout is one set of sessions that goes to so many drains.
type fanout struct {
	scenario
	drains int
	one    *oneDrain
}

// oneDrain is what the latest round with one drain used, 0 where there was none, with which those
// with more are compared.
type oneDrain struct{ processor float64 }

func fanouts() measure.Group {
	one := new(oneDrain)
	return measure.Group{&fanout{drains: 1, one: one}, &fanout{drains: 10, one: one}, &fanout{drains: 100, one: one}}
}

func (d *fanout) Name() string { return "fanout/" + strconv.Itoa(d.drains) }

// run measures from the start of the enricher and the router to the last record at the last drain.
// The work is counted in records that drains have got.
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
	// What a drain costs by itself: the same records, written by the sink alone.
	alone := sc.drain("https", "alone")
	written, err := sc.tell(flowOrder{Do: doWrite, Drains: []namedDrain{alone}})
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
		d.one.processor = result[measure.GrowthCPU]
	case d.one.processor > 0:
		result[measure.FanoutExtra] = (result[measure.GrowthCPU] - d.one.processor) / float64(d.drains-1) / written.Written.Seconds()
	}
	return result, nil
}

// deliver publishes sessions, then has them enriched and routed to the drains, and measures that.
func (sc *scene) deliver(ctx context.Context, fill flowOrder, drains []namedDrain) (measure.Sample, flowState, error) {
	filled, err := sc.tell(fill)
	if err != nil {
		return nil, filled, err
	}
	receiver, err := sc.witness.Query(receivers.WitnessQuestion{})
	if err != nil {
		return nil, filled, err
	}
	began := time.Now()
	if _, err := sc.tellAll(flowOrder{Do: doEnrich}, flowOrder{Do: doRoute, Drains: drains}); err != nil {
		return nil, filled, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Drains: len(drains), Sessions: filled.Sessions})
	took := time.Since(began)
	if err != nil {
		return nil, filled, err
	}
	after, err := sc.tell(flowOrder{Do: doLook})
	if err != nil {
		return nil, filled, err
	}
	repeats := 0
	for name, t := range got.Drains {
		// A disk that is slow to take the positions of a hundred drains makes them deliver again what
		// they could not note.
		if err := t.Verify(filled.Records, filled.Sessions, true); err != nil {
			return nil, filled, fmt.Errorf("%s: %w", name, err)
		}
		repeats += t.Repeats
	}
	// There are fewer where the enricher began anew, and found on LOGS what it had not been told of.
	if after.Enriched > filled.Records {
		return nil, filled, fmt.Errorf("%d records were enriched, of %d", after.Enriched, filled.Records)
	}
	return measure.Sample{
		measure.GrowthCPU: (after.Processor - filled.Processor).Seconds(), measure.GrowthWall: took.Seconds(), measure.GrowthPeak: float64(after.Memory.Peak) / measure.Megabyte,
		measure.GrowthRepeats:  float64(repeats) / float64(len(drains)*filled.Records),
		measure.GrowthReceiver: (got.Processor - receiver.Processor).Seconds(), measure.FanoutEnriched: float64(after.Enriched) / float64(filled.Records),
	}, filled, nil
}
