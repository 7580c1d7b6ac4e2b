package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// Metrics are the Prometheus metrics of a gateway's connections. None has a label for a user or an
// address. A nil Metrics counts nothing.
type Metrics struct {
	refused  *prometheus.CounterVec // by reason
	failed   *prometheus.CounterVec // by offence
	starting prometheus.Gauge
	loggedIn prometheus.Gauge
}

// NewMetrics returns registered metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	byReason := func(name, help string, reasons ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: name, Help: help}, []string{"reason"})
		r.MustRegister(c)
		for _, reason := range reasons {
			c.WithLabelValues(reason)
		}
		return c
	}
	connections := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "ssh_connections",
		Help: "Open SSH connections, by whether they have logged in."}, []string{"state"})
	r.MustRegister(connections)
	return &Metrics{
		refused: byReason("ssh_connections_refused_total", "Refused SSH connections and session channels, by the limit that they exceeded.",
			refusedPenalty, refusedConnections, refusedSource, refusedStartups, refusedUser, refusedUserSessions),
		failed: byReason("ssh_logins_failed_total", "SSH connections that ended without a login, by penalty.",
			string(crashed), string(authFailed), string(notTried), string(graceExceeded)),
		starting: connections.WithLabelValues("starting"),
		loggedIn: connections.WithLabelValues("logged_in"),
	}
}

func (m *Metrics) refuse(reason string) {
	if m != nil {
		m.refused.WithLabelValues(reason).Inc()
	}
}

func (m *Metrics) fail(o offence) {
	if m != nil {
		m.failed.WithLabelValues(string(o)).Inc()
	}
}

// change adds to the numbers of connections.
func (m *Metrics) change(starting, loggedIn float64) {
	if m != nil {
		m.starting.Add(starting)
		m.loggedIn.Add(loggedIn)
	}
}
