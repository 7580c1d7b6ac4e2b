package pipeline

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the pipeline, for Prometheus.
type Metrics struct {
	Chunks   prometheus.Counter // read from TTY
	Segments prometheus.Counter // published to LOGS
	Records  prometheus.Counter // in them
	Gaps     prometheus.Counter // records of missing bytes
	Corrupt  prometheus.Counter // messages that could not be read
	Refused  prometheus.Counter // user documents that were not expired

	delivered    *prometheus.CounterVec // by drain
	retries      *prometheus.CounterVec // by drain
	deadLettered *prometheus.CounterVec // by drain
	withheld     *prometheus.CounterVec // by drain
	lag          *prometheus.GaugeVec   // by drain and partition: segments behind
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ttydrain", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	byDrain := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ttydrain", Subsystem: "drain", Name: name, Help: help}, []string{"drain"})
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		Chunks:       counter("chunks_read_total", "Chunks of session output that were read from the TTY stream."),
		Segments:     counter("segments_published_total", "Segments that were published to the LOGS stream."),
		Records:      counter("records_published_total", "Records in the published segments."),
		Gaps:         counter("gaps_total", "Gap records: places where bytes of a session are missing."),
		Corrupt:      counter("corrupt_messages_total", "Messages on a stream that could not be read and were passed over."),
		Refused:      counter("refused_documents_total", "User documents that were not expired, and were replaced."),
		delivered:    byDrain("records_delivered_total", "Records that the drain has confirmed."),
		retries:      byDrain("retries_total", "Writes to the drain that failed and were tried again."),
		withheld:     byDrain("records_withheld_total", "Records that may hold protected health information, and that the drain has no agreement for."),
		deadLettered: byDrain("records_dead_lettered_total", "Records that the drain will never take."),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "ttydrain", Subsystem: "drain", Name: "lag_segments",
			Help: "Segments on the LOGS stream that the drain does not have yet."}, []string{"drain", "partition"}),
	}
	r.MustRegister(m.lag)
	return m
}

// forget removes the series of a drain that is gone.
func (m *Metrics) forget(drain string) {
	m.delivered.DeleteLabelValues(drain)
	m.retries.DeleteLabelValues(drain)
	m.deadLettered.DeleteLabelValues(drain)
	m.withheld.DeleteLabelValues(drain)
	m.lag.DeletePartialMatch(prometheus.Labels{"drain": drain})
}
