package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"
)

// growthLinesEach is how many lines a session has where sessions are counted.
const growthLinesEach = 1000

// A growing is an amount of work, in sessions or in lines.
type growing struct {
	scenario
	of              string
	units           int
	sessions, lines int
}

// growingWork is 1 to 1,000 sessions, and 1,000 to so many lines.
func growingWork(lines int) group {
	var g group
	for n := 1; n <= 1000 && n*growthLinesEach <= lines; n *= 10 {
		g = append(g, &growing{of: "sessions", units: n, sessions: n, lines: n * growthLinesEach})
	}
	for n := 1000; n <= lines; n *= 10 {
		g = append(g, &growing{of: "lines", units: n, sessions: 10, lines: n})
	}
	return g
}

func (d *growing) name() string { return "growth/" + d.of + "/" + strconv.Itoa(d.units) }

func (d *growing) run(ctx context.Context) (sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Profile: s.profile(d.name(), d.runs)}, witnessSetup{Protocol: "https"})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	result, filled, err := sc.deliver(ctx, flowOrder{Do: doFill, Sessions: d.sessions, Lines: d.lines}, []namedDrain{sc.drain("https", "drain")})
	if err != nil {
		return nil, err
	}
	// There are a few lines more than were asked for, since sessions do not end in the middle of
	// something.
	units := float64(filled.Lines)
	if d.of == "sessions" {
		units = float64(filled.Lines) / growthLinesEach
	}
	result[growthUnits] = units
	result[growthUnitCPU] = result[growthCPU] / units * 1e6
	return result, nil
}

// A fit is how a cost grows with the work: as its power with this exponent, over all of it, and
// over the last step of ten. 1 is linear.
type fit struct{ Exponent, Last float64 }

// exponent is the one of the two by which growth is judged.
func (f fit) exponent() float64 { return max(f.Exponent, f.Last) }

// verdict is in words what the exponent says. A tenth of a step of ten is what measurements vary
// by.
func (f fit) verdict() string {
	if f.exponent() <= 1.05 {
		return "linear or better"
	}
	return "worse than linear"
}

// fitOf fits a line through the logarithms of points, by least squares.
func fitOf(points curve) (f fit, ok bool) {
	if len(points) < 2 {
		return f, false
	}
	var x, y []float64
	for _, p := range points {
		if p[0] <= 0 || p[1] <= 0 {
			return f, false
		}
		x, y = append(x, math.Log(p[0])), append(y, math.Log(p[1]))
	}
	_, f.Exponent = stat.LinearRegression(x, y, nil, false)
	n := len(x)
	f.Last = (y[n-1] - y[n-2]) / (x[n-1] - x[n-2])
	return f, true
}

// growthOf is how a metric grows over the subjects whose names begin so, by the work.
func (r *report) growthOf(prefix, metric string) (points curve) {
	for _, one := range r.Results {
		if !strings.HasPrefix(one.Subject, prefix) {
			continue
		}
		units, ok := one.median(growthUnits)
		cost, ok2 := one.median(metric)
		if ok && ok2 {
			points = append(points, [2]float64{units, cost})
		}
	}
	slices.SortFunc(points, func(a, b [2]float64) int { return int(math.Copysign(1, a[0]-b[0])) })
	return points
}

// growths are the prefixes of the subjects whose work grows, and what is counted.
var growths = []struct{ prefix, unit string }{{"growth/sessions/", "sessions"}, {"growth/lines/", "lines"}, {"fanout/", "drains"}}

func (f fit) String() string {
	return fmt.Sprintf("exponent %.2f over all, %.2f over the last step: %s", f.Exponent, f.Last, f.verdict())
}
