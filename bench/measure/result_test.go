package measure

import "testing"

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		want float64
		ok   bool
	}{{nil, 0, false}, {[]float64{3}, 3, true}, {[]float64{9, 1, 2}, 2, true}, {[]float64{4, 1, 3, 2}, 2.5, true}} {
		if got, ok := Median(c.all); got != c.want || ok != c.ok {
			t.Errorf("median of %v is %v, %v", c.all, got, ok)
		}
	}
}
