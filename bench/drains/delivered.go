package drains

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const deliveredTotal = "ttydrain_drain_records_delivered_total"

// deliveredOnly is a registry that keeps only the metric of delivered records. It is polled, which
// must not add to the CPU time of the pipeline: gathering from a regular registry takes a twentieth
// of that.
type deliveredOnly struct{ metric prometheus.Collector }

// Register implements [prometheus.Registerer].
func (d *deliveredOnly) Register(c prometheus.Collector) error {
	of := make(chan *prometheus.Desc)
	go func() { // ends when the loop has read everything
		c.Describe(of)
		close(of)
	}()
	for desc := range of {
		if strings.Contains(desc.String(), strconv.Quote(deliveredTotal)) {
			d.metric = c
		}
	}
	return nil
}

// MustRegister implements [prometheus.Registerer].
func (d *deliveredOnly) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		_ = d.Register(c) // returns no error
	}
}

// Unregister implements [prometheus.Registerer].
func (d *deliveredOnly) Unregister(prometheus.Collector) bool { return false }

// await waits until the only drain has acknowledged that many records.
func (d *deliveredOnly) await(records int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var now dto.Metric
	metrics := make(chan prometheus.Metric, 1)
	for range tick.C {
		d.metric.Collect(metrics)
		select {
		case m := <-metrics:
			if err := m.Write(&now); err != nil {
				return err
			}
		default: // the router has not started
		}
		if int(now.GetCounter().GetValue()) >= records {
			return nil
		}
	}
	return nil
}
