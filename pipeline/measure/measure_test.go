package measure

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestSeconds checks the classic and the native buckets, and that a time in the future counts as 0.
func TestSeconds(t *testing.T) {
	h := prometheus.NewHistogram(Seconds("drain", "latency_seconds", "."))
	Since(h, time.Now().Add(time.Hour))
	h.Observe(0.0012)
	h.Observe(299)
	h.Observe(301)
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	got := m.GetHistogram()
	if got.GetSampleCount() != 4 || math.Abs(got.GetSampleSum()-600.0012) > 1e-9 {
		t.Errorf("%d observations of %g in all", got.GetSampleCount(), got.GetSampleSum())
	}
	for bound, want := range map[float64]uint64{.001: 1, .0025: 2, 120: 2, 300: 3} {
		for _, b := range got.GetBucket() {
			if b.GetUpperBound() == bound && b.GetCumulativeCount() != want {
				t.Errorf("%d up to %g, not %d", b.GetCumulativeCount(), bound, want)
			}
		}
	}
	// 299 and 301 are less than a tenth apart.
	if n := len(got.GetPositiveDelta()); n != 2 || got.GetZeroCount() != 1 {
		t.Errorf("%d native buckets, and %d in that of zero", n, got.GetZeroCount())
	}
}

func BenchmarkSince(b *testing.B) {
	h := prometheus.NewHistogram(Seconds("drain", "latency_seconds", "."))
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		Since(h, at)
	}
}
