package router

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// discardSink accepts everything.
type discardSink struct{ sinks.Sink }

func (discardSink) Write(context.Context, []sinks.Entry) error { return nil }

// TestDelivererLeavesProcessors holds that the writes of a drain with a large lag wait for a
// processor, and others do not.
func TestDelivererLeavesProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &drain.Drain{Name: "siem"}
		to := &target{drain: *d, metrics: NewMetrics(prometheus.NewRegistry())}
		to.addSeries()
		q := newQuota(d)
		s := newStatus(to, q.proof)
		q.processors = newTokens(1)
		deliverer := newDeliverer(to, discardSink{}, q, s)
		q.acquireProcessor(t.Context()) // which becomes free after processorTime
		for _, c := range []struct {
			unread uint64
			want   time.Duration
		}{{largeLag - 1, 0}, {largeLag, processorTime}} {
			s.read(bus.Message{Pending: c.unread}, 1)
			began := time.Now()
			left, err := deliverer.Deliver(t.Context(), []sinks.Entry{{Record: &schema.Record{}}}, time.Time{})
			if err != nil || len(left) > 0 {
				t.Fatalf("%d entries left: %v", len(left), err)
			}
			if waited := time.Since(began); waited != c.want {
				t.Errorf("with %d unread segments a write waits for %v, want %v", c.unread, waited, c.want)
			}
		}
	})
}
