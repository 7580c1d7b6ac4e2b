package report

import (
	"math"
	"testing"

	"github.com/ttydrain/ttydrain/bench/measure"
)

func TestFit(t *testing.T) {
	for _, c := range []struct {
		power float64
		want  string
	}{{0.5, "linear or better"}, {1, "linear or better"}, {1.3, "worse than linear"}} {
		var points measure.Curve
		for x := 1.0; x <= 1e4; x *= 10 {
			points = append(points, [2]float64{x, 3 * math.Pow(x, c.power)})
		}
		f, ok := fitOf(points)
		if !ok || math.Abs(f.Exponent-c.power) > 1e-9 || math.Abs(f.Last-c.power) > 1e-9 || f.verdict() != c.want {
			t.Errorf("x^%g: %v, %v", c.power, f, ok)
		}
	}
	// Faster growth at the end is detected.
	if f, ok := fitOf(measure.Curve{{1, 10}, {10, 11}, {100, 12}, {1000, 240}}); !ok || f.Exponent > 1 || f.verdict() != "worse than linear" {
		t.Errorf("%v, %v", f, ok)
	}
	if f, ok := fitOf(measure.Curve{{1, 1}}); ok {
		t.Errorf("one point gives %v", f)
	}
}
