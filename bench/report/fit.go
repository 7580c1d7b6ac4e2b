package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// A fit describes the growth of a cost as a power of the work: the exponents over all points, and
// over the last step of ten. 1 is linear.
type fit struct{ Exponent, Last float64 }

// exponent returns the exponent by which growth is judged.
func (f fit) exponent() float64 { return max(f.Exponent, f.Last) }

// verdict judges the exponent. Exponents up to 1.05 count as linear, because measurements vary.
func (f fit) verdict() string {
	if f.exponent() <= 1.05 {
		return "linear or better"
	}
	return "worse than linear"
}

func (f fit) String() string {
	return fmt.Sprintf("exponent %.2f over all, %.2f over the last step: %s", f.Exponent, f.Last, f.verdict())
}

// fitOf fits a line through the logarithms of points by least squares. ok is false if there are
// fewer than two points, or coordinates that are not positive.
func fitOf(points measure.Curve) (f fit, ok bool) {
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

// growthOf returns a metric of the subjects whose names start with prefix, by their work.
func (r *Report) growthOf(prefix, metric string) (points measure.Curve) {
	for _, one := range r.Results {
		if !strings.HasPrefix(one.Subject, prefix) {
			continue
		}
		units, ok := one.Median(measure.GrowthUnits)
		cost, ok2 := one.Median(metric)
		if ok && ok2 {
			points = append(points, [2]float64{units, cost})
		}
	}
	slices.SortFunc(points, func(a, b [2]float64) int { return int(math.Copysign(1, a[0]-b[0])) })
	return points
}

// growths has the prefixes of the subjects whose work grows, and the units of the work.
var growths = []struct{ prefix, unit string }{{"growth/sessions/", "sessions"}, {"growth/lines/", "lines"}, {"fanout/", "drains"}}
