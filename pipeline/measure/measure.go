// Package measure makes the histograms of ttydrain's metrics. All that measure times have the same
// buckets, so that those of different stages can be compared, and those of different processes be
// added.
//
// Each histogram is a classic one, and a native one for a Prometheus that asks for it
// (https://prometheus.io/docs/specs/native_histograms/): then it has buckets that are a tenth
// apart, a hundred at most.
package measure

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Namespace begins the names of all of ttydrain's metrics.
const Namespace = "ttydrain"

// Seconds are the options of a histogram of times, from 1 ms to 5 min.
func Seconds(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, []float64{
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300})
}

// Records are the options of a histogram of numbers of records.
func Records(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, prometheus.ExponentialBuckets(1, 4, 8)) // to 16384
}

// Bytes are the options of a histogram of sizes, from 256 bytes to 16 MiB.
func Bytes(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, prometheus.ExponentialBuckets(256, 4, 9))
}

func histogram(subsystem, name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Namespace: Namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}
}

// Since observes how long ago something was, in seconds. Where the clocks of two machines disagree
// about the order, it is no time at all.
func Since(o prometheus.Observer, at time.Time) { o.Observe(max(0, time.Since(at).Seconds())) }
