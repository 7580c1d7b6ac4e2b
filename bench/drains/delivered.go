package drains

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const deliveredTotal = "ttydrain_drain_records_delivered_total"

// deliveredOnly keeps of the pipeline's metrics that of what drains have confirmed. It is looked at
// all the time, which must not cost what counts as the pipeline's processor time: a registry, which
// orders and checks what it gathers, takes a twentieth of that.
type deliveredOnly struct{ metric prometheus.Collector }

// Register implements [prometheus.Registerer].
func (d *deliveredOnly) Register(c prometheus.Collector) error {
	of := make(chan *prometheus.Desc)
	go func() { // ends when the loop has taken everything
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
		_ = d.Register(c) // there is no error
	}
}

// Unregister implements [prometheus.Registerer].
func (d *deliveredOnly) Unregister(prometheus.Collector) bool { return false }

// await waits until the drain, of which there is one, has confirmed so many records.
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
		default: // the router has not begun
		}
		if int(now.GetCounter().GetValue()) >= records {
			return nil
		}
	}
	return nil
}
