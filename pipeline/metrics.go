package pipeline

import (
	"crypto/tls"
	"net/http/httptrace"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// Metrics of the pipeline, for Prometheus. None has a label for a person, an operation or an app:
// their number is bounded by that of the drains and partitions.
type Metrics struct {
	Chunks    prometheus.Counter   // read from TTY
	Segments  prometheus.Counter   // published to LOGS
	Records   prometheus.Counter   // in them
	Gaps      prometheus.Counter   // records of missing bytes
	Corrupt   prometheus.Counter   // messages that could not be read
	Refused   prometheus.Counter   // user documents that were not expired
	enriching prometheus.Gauge     // partitions that this process enriches
	enriched  prometheus.Histogram // from TTY to LOGS, by segment

	counters   map[string]*prometheus.CounterVec   // by drain
	histograms map[string]*prometheus.HistogramVec // by drain
	partitions *prometheus.GaugeVec                // by drain and state
	expiry     *prometheus.GaugeVec                // by drain

	purged *prometheus.CounterVec // by stream

	lagRecords, lagSegments, lagSeconds *prometheus.GaugeVec // by drain and partition

	mu     sync.Mutex          // guards drains, and the making of expiry's series
	drains map[string]struct{} // that there are
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: measure.Namespace, Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	byDrain := func(name, help string, more ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: measure.Namespace, Subsystem: "drain", Name: name, Help: help}, append([]string{"drain"}, more...))
		r.MustRegister(g)
		return g
	}
	m := &Metrics{
		Chunks:   counter("chunks_read_total", "Chunks of session output that were read from the TTY stream."),
		Segments: counter("segments_published_total", "Segments that were published to the LOGS stream."),
		Records:  counter("records_published_total", "Records in the published segments."),
		Gaps:     counter("gaps_total", "Gap records: places where bytes of a session are missing."),
		Corrupt:  counter("corrupt_messages_total", "Messages on a stream that could not be read and were passed over."),
		Refused:  counter("refused_documents_total", "User documents that were not expired, and were replaced."),
		enriching: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "enricher_partitions",
			Help: "Partitions of the streams that this process enriches."}),
		enriched: prometheus.NewHistogram(measure.Seconds("", "enrich_duration_seconds",
			"From when the first chunk of a segment was on the TTY stream until the segment was on the LOGS stream. A line that is not finished waits for up to ten seconds.")),

		purged: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "stream_purges_total",
			Help: "Times that the delivered data of an operation were removed from a stream, or a part of them, since the stream was nearly full."}, []string{"stream"}),

		drains:      make(map[string]struct{}),
		counters:    make(map[string]*prometheus.CounterVec),
		histograms:  make(map[string]*prometheus.HistogramVec),
		partitions:  byDrain("partitions", "Partitions of the drain that this process works on, by the state that it is in there.", "state"),
		expiry:      byDrain("certificate_expiry_timestamp_seconds", "When the first certificate of the chain ends that the drain showed last, in Unix time."),
		lagRecords:  byDrain("lag_records", "Records on the LOGS stream that the drain does not have yet, as far as they are counted.", "partition"),
		lagSegments: byDrain("lag_segments", "Segments on the LOGS stream that the drain does not have yet.", "partition"),
		lagSeconds:  byDrain("lag_seconds", "How long ago the first record was shown that the drain does not have yet.", "partition"),
	}
	r.MustRegister(m.enriching, m.enriched, m.purged)
	for name, help := range drainCounters {
		m.counters[name] = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Subsystem: "drain", Name: name, Help: help}, []string{"drain"})
		r.MustRegister(m.counters[name])
	}
	for _, o := range drainHistograms {
		m.histograms[o.Name] = prometheus.NewHistogramVec(o, []string{"drain"})
		r.MustRegister(m.histograms[o.Name])
	}
	return m
}

// The metrics of each drain, by name.
const (
	drainReceived     = "records_received_total"
	drainDelivered    = "records_delivered_total"
	drainRetries      = "retries_total"
	drainWithheld     = "records_withheld_total"
	drainDeadLettered = "records_dead_lettered_total"
	drainGaps         = "gaps_total"
	drainMissed       = "records_missed_total"
	drainUnattended   = "unseen_losses_total"

	drainBatchRecords = "batch_records"
	drainBatchBytes   = "batch_bytes"
	drainWrite        = "write_duration_seconds"
	drainRoute        = "route_duration_seconds"
	drainLatency      = "latency_seconds"
)

var drainCounters = map[string]string{
	drainReceived:     "Records for the drain that were read from the LOGS stream; those that are read again, too.",
	drainDelivered:    "Records that the drain has confirmed.",
	drainRetries:      "Writes to the drain that failed and were tried again.",
	drainWithheld:     "Records that may hold protected health information, and that the drain has no agreement for.",
	drainDeadLettered: "Records that the drain will never take.",
	drainGaps:         "Gaps in what the drain gets: places where the streams keep records no longer that it did not take.",
	drainMissed:       "Records in the gaps of what the drain gets.",
	drainUnattended:   "Times that the LOGS stream had removed messages behind the drain's position that no router had looked at.",
}

var drainHistograms = []prometheus.HistogramOpts{
	measure.Records("drain", drainBatchRecords, "Records in a batch that was delivered."),
	measure.Bytes("drain", drainBatchBytes, "Bytes of the segments in a batch that was delivered, before they were encoded for the drain."),
	measure.Seconds("drain", drainWrite, "How long a try to write a batch took, or a part of one, whatever came of it."),
	measure.Seconds("drain", drainRoute, "From when the first segment of a batch was on the LOGS stream until the drain had all of the batch. Not of what is delivered again."),
	measure.Seconds("drain", drainLatency, "From when the first byte of a batch came from the terminal until the drain had all of the batch. Not of what is delivered again."),
}

// series are those of one drain.
type series struct {
	received, delivered, retries, deadLettered, withheld, gaps, missed, unattended prometheus.Counter
	batchRecords, batchBytes, write, route, latency                                prometheus.Observer
	hooks                                                                          *httptrace.ClientTrace // for its connections
}

// ofDrain makes the series of a drain be there before anything is counted, at zero.
func (m *Metrics) ofDrain(drain string) *series {
	counter := func(name string) prometheus.Counter { return m.counters[name].WithLabelValues(drain) }
	histogram := func(name string) prometheus.Observer { return m.histograms[name].WithLabelValues(drain) }
	m.mu.Lock()
	m.drains[drain] = struct{}{}
	m.mu.Unlock()
	for _, state := range States {
		m.partitions.WithLabelValues(drain, state)
	}
	return &series{
		counter(drainReceived), counter(drainDelivered), counter(drainRetries), counter(drainDeadLettered), counter(drainWithheld),
		counter(drainGaps), counter(drainMissed), counter(drainUnattended),
		histogram(drainBatchRecords), histogram(drainBatchBytes), histogram(drainWrite), histogram(drainRoute), histogram(drainLatency),
		&httptrace.ClientTrace{TLSHandshakeDone: func(state tls.ConnectionState, err error) { m.shown(drain, &state, err) }},
	}
}

// shown notes which certificates a drain showed.
func (m *Metrics) shown(drain string, state *tls.ConnectionState, err error) {
	if err != nil || len(state.PeerCertificates) == 0 {
		return
	}
	first := state.PeerCertificates[0].NotAfter
	for _, c := range state.PeerCertificates {
		if c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.drains[drain]; there { // a connection may be made later than its drain goes
		m.expiry.WithLabelValues(drain).Set(float64(first.Unix()))
	}
}

// setLag tells how far a drain is behind in a partition, as this process knows it.
func (m *Metrics) setLag(drain string, partition int, records, segments uint64, seconds float64) {
	p := strconv.Itoa(partition)
	m.lagRecords.WithLabelValues(drain, p).Set(float64(records))
	m.lagSegments.WithLabelValues(drain, p).Set(float64(segments))
	m.lagSeconds.WithLabelValues(drain, p).Set(seconds)
}

// forget removes the series of a drain that is gone.
func (m *Metrics) forget(drain string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.drains, drain)
	its := prometheus.Labels{"drain": drain}
	for _, c := range m.counters {
		c.DeletePartialMatch(its)
	}
	for _, h := range m.histograms {
		h.DeletePartialMatch(its)
	}
	for _, g := range []*prometheus.GaugeVec{m.partitions, m.expiry, m.lagRecords, m.lagSegments, m.lagSeconds} {
		g.DeletePartialMatch(its)
	}
}
