package enricher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
)

// Metrics are the enricher's metrics for Prometheus. None has a label for a user, an operation or
// an app.
type Metrics struct {
	chunks     prometheus.Counter // read from TTY
	segments   prometheus.Counter // published to LOGS
	Records    prometheus.Counter // in published segments
	gaps       prometheus.Counter // records of missing bytes
	corrupt    prometheus.Counter // unreadable messages
	refused    prometheus.Counter // user documents that were not expired
	purged     *prometheus.CounterVec
	partitions prometheus.Gauge     // whose leases this process has
	duration   prometheus.Histogram // from TTY to LOGS, by segment
}

// NewMetrics registers the metrics and returns them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: measure.Namespace, Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		chunks:   counter("chunks_read_total", "Chunks of session output that were read from the TTY stream."),
		segments: counter("segments_published_total", "Segments that were published to the LOGS stream."),
		Records:  counter("records_published_total", "Records in the published segments."),
		gaps:     counter("gaps_total", "Gap records: places where bytes of a session are missing."),
		refused:  counter("refused_documents_total", "User documents that were not expired, and were replaced."),
		corrupt:  measure.CorruptMessages(r),
		purged:   reclaim.PurgedMessages(r),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "enricher_partitions",
			Help: "Partitions of the streams that this process enriches."}),
		duration: prometheus.NewHistogram(measure.Seconds("", "enrich_duration_seconds",
			"From when the first chunk of a segment was on the TTY stream until the segment was on the LOGS stream. A line that is not finished waits for up to ten seconds.")),
	}
	r.MustRegister(m.partitions, m.duration)
	return m
}
