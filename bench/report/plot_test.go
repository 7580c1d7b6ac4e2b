package report

import (
	"bytes"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// TestPlots checks that each kind of plot is small, XML, and the same when it is drawn again.
func TestPlots(t *testing.T) {
	var long measure.Curve
	for i := range 600 {
		long = append(long, [2]float64{float64(i), 40 + 3*math.Sin(float64(i))})
	}
	draw := map[string]func() ([]byte, error){
		"bars": func() ([]byte, error) {
			p, err := barPlot("From the stream to HTTPS", "records/s", []bar{{"limit", 666_000}, {"ttydrain", 410_000}, {"syslog-ng", 189_000}, {"Telegraf", 33_500}}, "ttydrain")
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"lines": func() ([]byte, error) {
			p, err := linePlot("Memory", "seconds", "megabytes", 64, "64 MB", line{"resident", long}, line{"heap", long[:300]})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"latency": func() ([]byte, error) {
			p, err := latencyPlot("Latency", 100, "100 ms", line{"HTTPS", measure.Curve{{0, .4}, {.5, 2}, {.9, 5}, {.99, 30}, {.999, 60}}}, line{"syslog", measure.Curve{{0, .3}, {.5, 1}, {.99, 20}}})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"growth": func() ([]byte, error) {
			p, err := growthPlot("Cost", "lines", "seconds", line{"processor time", measure.Curve{{3000, .03}, {11_000, .08}, {1e6, 5}}}, line{"elapsed", measure.Curve{{3000, .05}, {1e6, 7}}})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
	}
	for name, plot := range draw {
		first, err := plot()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, _ := plot(); !bytes.Equal(first, again) {
			t.Errorf("%s: the same plot results in other bytes", name)
		}
		if len(first) > 50<<10 {
			t.Errorf("%s: %d bytes", name, len(first))
		}
		if err := xml.Unmarshal(first, new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if keep := os.Getenv("TTYDRAIN_KEEP_PLOTS"); keep != "" {
			if err := os.WriteFile(filepath.Join(keep, name+".svg"), first, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 1: "1", 999: "999", 1000: "1 k", 33_500: "33.5 k", 666_123: "666 k", 1e6: "1 M", 12_345_678: "12.3 M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %q, expected %q", v, got, want)
		}
	}
}
