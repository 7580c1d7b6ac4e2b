package measure

import "slices"

// A Result has the samples of one subject.
type Result struct {
	Subject string `json:"subject"`
	// Missing is the reason why the subject has no samples, or "".
	Missing string   `json:"missing,omitempty"`
	Samples []Sample `json:"samples,omitempty"`
	// Curves are the curves of the last run, by name.
	Curves map[string]Curve `json:"curves,omitempty"`
}

// Median returns the median of a metric over the runs; ok is false if it was not measured.
func (r Result) Median(metric string) (v float64, ok bool) {
	var all []float64
	for _, s := range r.Samples {
		if v, ok := s[metric]; ok {
			all = append(all, v)
		}
	}
	return Median(all)
}

// Median returns the median of some values; ok is false if there are none.
func Median(all []float64) (v float64, ok bool) {
	if len(all) == 0 {
		return 0, false
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

// Ratio returns the median of the runs' ratios of a metric to that of another subject.
func (r Result) Ratio(to Result, metric string) (float64, bool) {
	var all []float64
	for i := range min(len(r.Samples), len(to.Samples)) {
		if a, b := r.Samples[i][metric], to.Samples[i][metric]; a > 0 && b > 0 {
			all = append(all, a/b)
		}
	}
	return Median(all)
}

// A Curve is the points of a line in a plot.
type Curve [][2]float64

// A drawn subject has curves for the JSON and the plots.
type drawn interface {
	// Curves returns the curves of the last run, by name.
	Curves() map[string]Curve
}

// Axes returns the coordinates of the points.
func (c Curve) Axes() (x, y []float64) {
	for _, p := range c {
		x, y = append(x, p[0]), append(y, p[1])
	}
	return x, y
}

// Highest returns the greatest y, at least 0.
func (c Curve) Highest() (y float64) {
	for _, p := range c {
		y = max(y, p[1])
	}
	return y
}
