package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Drain is where the router writes to.
type Drain struct {
	Name string
	// Open makes a sink; each partition's worker has its own.
	Open func() (sinks.Sink, error)
	// Apps that the drain gets, as pairs of stack and app; "" stands for any. Empty: all.
	Match []Match
	// BatchRecords and BatchBytes bound a batch; a batch has at least one segment.
	BatchRecords, BatchBytes int
	// BatchWait is how long a batch that is not full waits for more. 0 writes what is there: while that
	// is being written, the next batch gathers.
	BatchWait time.Duration
}

// Match is a stack and an app; "" stands for any.
type Match struct{ Stack, App string }

// RouterOptions of a [Router]. All are needed.
type RouterOptions struct {
	Bus     *bus.Bus
	Drains  []Drain
	Metrics *Metrics
	Log     *slog.Logger
}

// A Router has a worker for each drain and partition.
type Router struct {
	workers []*worker
	bus     *bus.Bus
}

// NewRouter opens the sinks. Their drains need not be there yet.
func NewRouter(o RouterOptions) (*Router, error) {
	r := &Router{bus: o.Bus}
	for _, d := range o.Drains {
		for i := range o.Bus.Partitions() {
			sink, err := d.Open()
			if err != nil {
				for _, w := range r.workers {
					w.sink.Close()
				}
				return nil, fmt.Errorf("drain %s: %w", d.Name, err)
			}
			r.workers = append(r.workers, newWorker(o, d, i, sink))
		}
	}
	return r, nil
}

// Run routes until ctx is done, whatever happens; then it returns nil.
func (r *Router) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, w := range r.workers {
		g.Go(func() error {
			w.run(ctx)
			return w.sink.Close()
		})
	}
	return g.Wait()
}

// Drain waits until every record that was on LOGS when it was called is delivered, as far as it is for this
// process to do. It does not wait for drains that are failing: theirs stay in the stream.
func (r *Router) Drain(ctx context.Context) error {
	end, err := r.bus.End(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	for _, w := range r.workers {
		after := func() uint64 {
			if w.failing.Load() || !w.working.Load() {
				return end
			}
			return w.delivered.Load()
		}
		if err := waitFor(ctx, r.bus, schema.StreamLogs, w.filters, end, after); err != nil {
			return err
		}
	}
	return nil
}
