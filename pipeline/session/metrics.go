package session

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// Metrics of the sessions of a gateway, for Prometheus. None has a label for a person, an operation
// or an app.
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

// Why output was held back, as the metrics tell it.
const (
	HeldRate = "rate"    // it exceeded a limit of the session, the user or the stack
	HeldRoom = "no room" // the room to record it was nearly used up
)

// Why a session was refused, as the metrics tell it.
const (
	RefusedDenied      = "denied"         // who asks may not open it, or not any more
	RefusedLimit       = "limit"          // the stack has as many as its plan has
	RefusedOutput      = "output limit"   // its user or its stack have shown as much as they may
	RefusedFull        = "no room"        // nothing can be recorded before somebody makes room
	RefusedUnrecorded  = "not recordable" // the streams do not answer
	RefusedUnavailable = "not available"  // the app, or its runtime, is not there
	RefusedStopping    = "gateway stopping"
)

// NewMetrics makes the metrics and registers them.
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
		running: gauge("sessions_running", "Sessions that run on this gateway."),
		waiting: gauge("session_ends_unrecorded", "Sessions that are over, and whose end could not be recorded yet."),
		started: counter("sessions_started_total", "Sessions that were recorded and begun."),
		bytes:   counter("session_bytes_total", "Bytes that sessions showed, on standard output and standard error, once they were recorded."),
		ended: byReason("sessions_ended_total", "Sessions that ended, by the reason that their end record has.",
			ReasonExit, ReasonOutputClosed, ReasonDisconnect, ReasonExpired, ReasonKilled, ReasonShutdown, ReasonNoRoom, ReasonOutput, ReasonNotRecorded, ReasonStartFailure, ReasonLost, ReasonGatewayLost),
		refused: byReason("sessions_refused_total", "Sessions that were asked for on a connection that was logged in, and not begun.",
			RefusedDenied, RefusedLimit, RefusedOutput, RefusedFull, RefusedUnrecorded, RefusedUnavailable, RefusedStopping),
		captured: prometheus.NewHistogram(measure.Seconds("", "capture_duration_seconds",
			"From when the first byte of a chunk came from the terminal until the chunk was recorded on the TTY stream; nobody sees it before.")),
	}
	m.held = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "session_output_held_seconds_total",
		Help: "Time for which the output of sessions was held back, of all sessions together, by the reason."}, []string{"reason"})
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

// unrecordable counts a session that was refused since it could not be recorded.
func (m *Metrics) unrecordable(err error) {
	if errors.Is(err, ErrFull) {
		m.Refuse(RefusedFull)
		return
	}
	m.Refuse(RefusedUnrecorded)
}
