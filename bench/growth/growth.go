package growth

import (
	"context"
	"strconv"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// growthLinesEach is the number of lines of a session where the number of sessions grows.
const growthLinesEach = 1000

// A growthSubject measures an amount of work, in sessions or in lines.
type growthSubject struct {
	scenario
	of              string
	units           int
	sessions, lines int
}

// growthSubjects returns subjects with 1 to 1,000 sessions, and with 1,000 to that many lines.
func growthSubjects(lines int) measure.Group {
	var g measure.Group
	for n := 1; n <= 1000 && n*growthLinesEach <= lines; n *= 10 {
		g = append(g, &growthSubject{of: "sessions", units: n, sessions: n, lines: n * growthLinesEach})
	}
	for n := 1000; n <= lines; n *= 10 {
		g = append(g, &growthSubject{of: "lines", units: n, sessions: 10, lines: n})
	}
	return g
}

func (d *growthSubject) Name() string { return "growth/" + d.of + "/" + strconv.Itoa(d.units) }

func (d *growthSubject) Run(ctx context.Context) (measure.Sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.Profile(d.Name(), d.runs)}, receivers.WitnessSetup{Protocol: "https"})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	result, filled, err := sc.deliver(ctx, flowOrder{Do: doFill, Sessions: d.sessions, Lines: d.lines}, []namedDrain{sc.drain("https", "drain")})
	if err != nil {
		return nil, err
	}
	// There are a few more lines than requested, since a session ends after a complete set of frames.
	units := float64(filled.Lines)
	if d.of == "sessions" {
		units = float64(filled.Lines) / growthLinesEach
	}
	result[measure.GrowthUnits] = units
	result[measure.GrowthUnitCPU] = result[measure.GrowthCPU] / units * 1e6
	return result, nil
}

// Run measures the chosen subjects of this package.
func Run(ctx context.Context, s *measure.Settings, chosen func(string) bool) ([]measure.Result, error) {
	results, err := measure.Run(ctx, []measure.Group{latencies(), fanouts(), {&catchup{}}}, s, chosen)
	if err != nil {
		return nil, err
	}
	// One run is enough: the soak takes long, and growth has many points.
	once := *s
	once.Runs = 1
	more, err := measure.Run(ctx, []measure.Group{growthSubjects(s.GrowthLines), {&soak{}}}, &once, chosen)
	return append(results, more...), err
}
