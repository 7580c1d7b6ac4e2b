package router

import (
	"log/slog"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

// A target is one partition of one drain, with the dependencies that the parts of its worker share.
// Nobody changes it once the worker has started.
type target struct {
	drain     drain.Drain
	partition int
	lease     string   // name of the lease, which is that of the position too
	filters   []string // of the segments that the drain receives, sorted
	bus       *bus.Bus
	retention retention
	metrics   *Metrics
	series    *series // of the drain; set by addSeries
	tracer    *tracing.Tracer
	log       *slog.Logger
	sign      func(typ string, object any) (string, error) // nil for none
}

// addSeries creates the series of the drain, at zero. It is called before the worker starts.
func (t *target) addSeries() {
	t.series = t.metrics.ofDrain(t.drain.Name)
	t.metrics.setLag(t.drain.Name, t.partition, 0, 0, 0)
}

// mayReceive reports whether the drain may receive records of an operation: those that may hold
// protected health information need an agreement.
func (t *target) mayReceive(op *schema.Operation) bool { return !op.PHI || t.drain.PHI }

// skipCorrupt reports a message that cannot be read, and is skipped.
func (t *target) skipCorrupt(m bus.Message, err error) {
	t.log.Error("skipping an unreadable message on the LOGS stream", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	t.metrics.corrupt.Inc()
}

// countState changes how many partitions of the drain the metrics count in a state; "" is none.
func (t *target) countState(name string, by float64) {
	if name != "" {
		t.metrics.partitions.WithLabelValues(t.drain.Name, name).Add(by)
	}
}
