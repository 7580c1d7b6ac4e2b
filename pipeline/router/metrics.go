package router

import (
	"crypto/tls"
	"net/http/httptrace"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
)

// Metrics are the router's metrics for Prometheus. Their labels are drains, states and partitions,
// and never a user, an operation or an app, which bounds their number.
type Metrics struct {
	corrupt prometheus.Counter     // unreadable messages
	purged  *prometheus.CounterVec // by stream

	counters   map[string]*prometheus.CounterVec   // by drain
	histograms map[string]*prometheus.HistogramVec // by drain
	partitions *prometheus.GaugeVec                // by drain and state
	expiry     *prometheus.GaugeVec                // by drain

	lagRecords, lagSegments, lagSeconds *prometheus.GaugeVec // by drain and partition

	mu     sync.Mutex          // guards drains, and the creation of expiry's series
	drains map[string]struct{} // that exist
}

// NewMetrics registers the metrics and returns them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	byDrain := func(name, help string, more ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: measure.Namespace, Subsystem: "drain", Name: name, Help: help}, append([]string{"drain"}, more...))
		r.MustRegister(g)
		return g
	}
	m := &Metrics{
		corrupt:     measure.CorruptMessages(r),
		purged:      reclaim.PurgedMessages(r),
		drains:      make(map[string]struct{}),
		counters:    make(map[string]*prometheus.CounterVec),
		histograms:  make(map[string]*prometheus.HistogramVec),
		partitions:  byDrain("partitions", "Partitions of the drain that this process works on, by the state of the drain there.", "state"),
		expiry:      byDrain("certificate_expiry_timestamp_seconds", "Earliest expiry in the certificate chain that the drain presented last, in Unix time."),
		lagRecords:  byDrain("lag_records", "Records on the LOGS stream that the drain does not have yet, as far as they are counted.", "partition"),
		lagSegments: byDrain("lag_segments", "Segments on the LOGS stream that the drain does not have yet.", "partition"),
		lagSeconds:  byDrain("lag_seconds", "Time since the first record was shown that the drain does not have yet.", "partition"),
	}
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
	drainReceived:     "Records for the drain that were read from the LOGS stream, including those that are read again.",
	drainDelivered:    "Records that the drain has acknowledged.",
	drainRetries:      "Failed writes to the drain that were retried.",
	drainWithheld:     "Records that may hold protected health information, withheld because the drain has no agreement for it.",
	drainDeadLettered: "Records that the drain refused for good.",
	drainGaps:         "Gaps in the drain's records: places where undelivered records were abandoned.",
	drainMissed:       "Records in the drain's gaps.",
	drainUnattended:   "Times that the LOGS stream had removed undelivered messages that no router had examined.",
}

var drainHistograms = []prometheus.HistogramOpts{
	measure.Records("drain", drainBatchRecords, "Records in a delivered batch."),
	measure.Bytes("drain", drainBatchBytes, "Bytes of the segments in a delivered batch, before they were encoded for the drain."),
	measure.Seconds("drain", drainWrite, "Duration of an attempt to write a batch, or a part of one, whether it succeeded or not."),
	measure.Seconds("drain", drainRoute, "From when the first segment of a batch was on the LOGS stream until the drain had all of the batch. Redeliveries do not count."),
	measure.Seconds("drain", drainLatency, "From when the first byte of a batch came from the terminal until the drain had all of the batch. Redeliveries do not count."),
}

// series are the series of one drain.
type series struct {
	received, delivered, retries, deadLettered, withheld, gaps, missed, unattended prometheus.Counter
	batchRecords, batchBytes, write, route, latency                                prometheus.Observer
	hooks                                                                          *httptrace.ClientTrace // for its connections
}

// ofDrain creates the series of a drain, at zero, and returns them.
func (m *Metrics) ofDrain(name string) *series {
	counter := func(metric string) prometheus.Counter { return m.counters[metric].WithLabelValues(name) }
	histogram := func(metric string) prometheus.Observer { return m.histograms[metric].WithLabelValues(name) }
	m.mu.Lock()
	m.drains[name] = struct{}{}
	m.mu.Unlock()
	for _, state := range drain.States {
		m.partitions.WithLabelValues(name, state)
	}
	return &series{
		counter(drainReceived), counter(drainDelivered), counter(drainRetries), counter(drainDeadLettered), counter(drainWithheld),
		counter(drainGaps), counter(drainMissed), counter(drainUnattended),
		histogram(drainBatchRecords), histogram(drainBatchBytes), histogram(drainWrite), histogram(drainRoute), histogram(drainLatency),
		&httptrace.ClientTrace{TLSHandshakeDone: func(state tls.ConnectionState, err error) { m.observeCertificates(name, &state, err) }},
	}
}

// observeCertificates exports when the certificates that a drain presented expire.
func (m *Metrics) observeCertificates(drain string, state *tls.ConnectionState, err error) {
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
	if _, there := m.drains[drain]; there { // a connection may be made after its drain was removed
		m.expiry.WithLabelValues(drain).Set(float64(first.Unix()))
	}
}

// setLag exports the lag of a drain in a partition.
func (m *Metrics) setLag(drain string, partition int, records, segments uint64, seconds float64) {
	p := strconv.Itoa(partition)
	m.lagRecords.WithLabelValues(drain, p).Set(float64(records))
	m.lagSegments.WithLabelValues(drain, p).Set(float64(segments))
	m.lagSeconds.WithLabelValues(drain, p).Set(seconds)
}

// forget removes the series of a drain.
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
