// Package measure defines the options of ttydrain's histograms. All histograms of durations have
// the same buckets, so that stages can be compared and processes aggregated.
//
// Each histogram is a classic one and, for a Prometheus that scrapes native histograms
// (https://prometheus.io/docs/specs/native_histograms/), also a native one with at most 100 buckets
// and a growth factor of 1.1.
package measure

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Namespace is the prefix of all of ttydrain's metric names.
const Namespace = "ttydrain"

// Seconds returns the options of a histogram of durations, from 1 ms to 5 min.
func Seconds(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, []float64{
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300})
}

// Records returns the options of a histogram of numbers of records.
func Records(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, prometheus.ExponentialBuckets(1, 4, 8)) // to 16384
}

// Bytes returns the options of a histogram of sizes, from 256 bytes to 16 MiB.
func Bytes(subsystem, name, help string) prometheus.HistogramOpts {
	return histogram(subsystem, name, help, prometheus.ExponentialBuckets(256, 4, 9))
}

func histogram(subsystem, name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Namespace: Namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}
}

// Since observes the time elapsed since at, in seconds. A negative duration, which clock
// differences between two machines can cause, counts as zero.
func Since(o prometheus.Observer, at time.Time) { o.Observe(max(0, time.Since(at).Seconds())) }

// CorruptMessages returns the counter of unreadable messages, which the enricher and the router
// share.
func CorruptMessages(r prometheus.Registerer) prometheus.Counter {
	return SharedCounter(r, "corrupt_messages_total", "Unreadable messages on a stream that were skipped.").WithLabelValues()
}

// SharedCounter returns a counter that several packages use. The first call registers it.
func SharedCounter(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help}, labels)
	err := r.Register(c)
	var registered prometheus.AlreadyRegisteredError
	switch {
	case errors.As(err, &registered):
		return registered.ExistingCollector.(*prometheus.CounterVec)
	case err != nil:
		panic(err)
	}
	return c
}
