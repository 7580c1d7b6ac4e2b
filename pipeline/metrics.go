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
	gaps         *prometheus.CounterVec // by drain
	missed       *prometheus.CounterVec // by drain: records
	unseen       *prometheus.CounterVec // by drain

	lagRecords, lagSegments, lagSeconds *prometheus.GaugeVec // by drain and partition
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
	lag := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "ttydrain", Subsystem: "drain", Name: name, Help: help}, []string{"drain", "partition"})
		r.MustRegister(g)
		return g
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
		gaps:         byDrain("gaps_total", "Gaps in what the drain gets: places where the streams keep records no longer that it did not take."),
		missed:       byDrain("records_missed_total", "Records in those gaps."),
		unseen:       byDrain("unseen_losses_total", "Times that the LOGS stream had removed messages behind the drain's position that no router had looked at."),
		lagRecords:   lag("lag_records", "Records on the LOGS stream that the drain does not have yet, as far as they are counted."),
		lagSegments:  lag("lag_segments", "Segments on the LOGS stream that the drain does not have yet."),
		lagSeconds:   lag("lag_seconds", "How long ago the first record was shown that the drain does not have yet."),
	}
	return m
}

// forget removes the series of a drain that is gone.
func (m *Metrics) forget(drain string) {
	for _, c := range []*prometheus.CounterVec{m.delivered, m.retries, m.deadLettered, m.withheld, m.gaps, m.missed, m.unseen} {
		c.DeleteLabelValues(drain)
	}
	for _, g := range []*prometheus.GaugeVec{m.lagRecords, m.lagSegments, m.lagSeconds} {
		g.DeletePartialMatch(prometheus.Labels{"drain": drain})
	}
}
