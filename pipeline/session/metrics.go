package session

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// Metrics are the Prometheus metrics of a gateway's sessions. None has a label for a user, an
// operation or an app.
type Metrics struct {
	running  prometheus.Gauge
	waiting  prometheus.Gauge // ends that are not recorded yet
	started  prometheus.Counter
	bytes    prometheus.Counter
	ended    *prometheus.CounterVec // by reason
	refused  *prometheus.CounterVec // by reason
	captured prometheus.Histogram
	held     *prometheus.CounterVec // by reason
}

// Reasons for holding back output, as label values.
const (
	HeldRate = "rate"    // it exceeded a limit of the session, the user or the stack
	HeldRoom = "no room" // the space for recording was nearly used up
)

// Reasons for refusing a session, as label values.
const (
	RefusedDenied      = "denied"         // the user may not open it
	RefusedLimit       = "limit"          // the stack has reached the limit of its plan
	RefusedOutput      = "output limit"   // its user or its stack has reached its output limit
	RefusedFull        = "no room"        // nothing can be recorded for lack of space
	RefusedUnrecorded  = "not recordable" // the streams do not answer
	RefusedUnavailable = "not available"  // the app or its runtime does not exist
	RefusedStopping    = "gateway stopping"
)

// NewMetrics returns registered metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: measure.Namespace, Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	byReason := func(name, help string, reasons ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: name, Help: help}, []string{"reason"})
		r.MustRegister(c)
		for _, reason := range reasons {
			c.WithLabelValues(reason)
		}
		return c
	}
	m := &Metrics{
		running: gauge("sessions_running", "Running sessions on this gateway."),
		waiting: gauge("session_ends_unrecorded", "Ended sessions whose end is not recorded yet."),
		started: counter("sessions_started_total", "Sessions that were recorded and started."),
		bytes:   counter("session_bytes_total", "Recorded bytes of output, on standard output and standard error."),
		ended: byReason("sessions_ended_total", "Ended sessions, by the reason in their end record.",
			ReasonExit, ReasonOutputClosed, ReasonDisconnect, ReasonExpired, ReasonKilled, ReasonShutdown, ReasonNoRoom, ReasonOutput, ReasonNotRecorded, ReasonStartFailure, ReasonLost, ReasonGatewayLost),
		refused: byReason("sessions_refused_total", "Sessions that were requested on an authenticated connection and refused, by reason.",
			RefusedDenied, RefusedLimit, RefusedOutput, RefusedFull, RefusedUnrecorded, RefusedUnavailable, RefusedStopping),
		captured: prometheus.NewHistogram(measure.Seconds("", "capture_duration_seconds",
			"Time from a chunk's first byte from the terminal until the chunk is recorded on the TTY stream, which is when it can be shown.")),
	}
	m.held = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "session_output_held_seconds_total",
		Help: "Total time for which the output of sessions was held back, by reason."}, []string{"reason"})
	r.MustRegister(m.captured, m.held)
	m.held.WithLabelValues(HeldRate)
	m.held.WithLabelValues(HeldRoom)
	return m
}

// Refuse counts a session that was refused for one of the reasons above. A nil Metrics counts
// nothing.
func (m *Metrics) Refuse(reason string) {
	if m != nil {
		m.refused.WithLabelValues(reason).Inc()
	}
}

// heldFor counts the time for which output was held back.
func (m *Metrics) heldFor(reason string, d time.Duration) {
	m.held.WithLabelValues(reason).Add(d.Seconds())
}

// unrecordable counts a session that was refused because it could not be recorded.
func (m *Metrics) unrecordable(err error) {
	if errors.Is(err, ErrFull) {
		m.Refuse(RefusedFull)
		return
	}
	m.Refuse(RefusedUnrecorded)
}
