package measure

import (
	"slices"
)

// A result is what was measured of one subject.
type Result struct {
	Subject string   `json:"subject"`
	Missing string   `json:"missing,omitempty"`
	Samples []Sample `json:"samples,omitempty"`
	// Curves are those of the last run, by name, where the subject has some.
	Curves map[string]Curve `json:"curves,omitempty"`
}

// median of a metric over the runs; ok is false where it was not measured.
func (r Result) Median(metric string) (v float64, ok bool) {
	var all []float64
	for _, s := range r.Samples {
		if v, ok := s[metric]; ok {
			all = append(all, v)
		}
	}
	return Median(all)
}

func Median(all []float64) (v float64, ok bool) {
	if len(all) == 0 {
		return 0, false
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

// ratio is the median of the runs' ratios of a metric.
func (r Result) Ratio(to Result, metric string) (float64, bool) {
	var all []float64
	for i := range min(len(r.Samples), len(to.Samples)) {
		if a, b := r.Samples[i][metric], to.Samples[i][metric]; a > 0 && b > 0 {
			all = append(all, a/b)
		}
	}
	return Median(all)
}

// A curve is points of a line in a plot.
type Curve [][2]float64

// A drawn subject has curves, by name, for the JSON and the plots: those of its last run.
type drawn interface{ Curves() map[string]Curve }

// axes are the coordinates of the points.
func (c Curve) Axes() (x, y []float64) {
	for _, p := range c {
		x, y = append(x, p[0]), append(y, p[1])
	}
	return x, y
}

func (c Curve) Highest() (y float64) {
	for _, p := range c {
		y = max(y, p[1])
	}
	return y
}
