package enricher

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

// Options are the options of an [Enricher]. All but Tracer are required.
type Options struct {
	Bus *bus.Bus
	// Signer signs the starts and ends of sessions.
	Signer enrich.Signer
	// Document creates an expired user document, for an operation whose own is refused.
	Document func(schema.User) (string, error)
	Metrics  *Metrics
	Tracer   *tracing.Tracer
	Log      *slog.Logger
}

// An Enricher turns chunks into segments, in the partitions whose leases it has.
type Enricher struct {
	o        Options
	progress []partitionProgress // by partition
}

// partitionProgress is the enricher's progress on one partition.
type partitionProgress struct {
	settled atomic.Uint64 // sequence on TTY up to which all finished records are on LOGS
	leased  atomic.Bool   // this process has the lease
}

// New returns an enricher.
func New(o Options) *Enricher {
	return &Enricher{o: o, progress: make([]partitionProgress, o.Bus.Partitions())}
}

// Run enriches until ctx is done, whatever fails. It returns nil.
func (e *Enricher) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { e.reclaimer().Run(ctx); return nil }) // ends with ctx
	for i := range e.progress {
		g.Go(func() error { e.runPartition(ctx, i); return nil }) // ends with ctx
	}
	return g.Wait()
}

// runPartition works on a partition whenever this process has its lease, until ctx is done.
func (e *Enricher) runPartition(ctx context.Context, partition int) {
	retry := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(10*time.Second))
	for {
		progressed, err := e.runWithLease(ctx, partition)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrHandover) {
			e.o.Log.Info("another process takes over this partition of the enricher", "partition", partition)
			continue
		}
		if progressed {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		e.o.Log.Error("enriching failed and restarts", "partition", partition, "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// leaseName returns the name of the lease on a partition, which is that of the position too.
func leaseName(partition int) string { return "enrich." + strconv.Itoa(partition) }

// runWithLease acquires the lease on a partition and works on it until something fails. progressed
// reports whether it has published anything.
func (e *Enricher) runWithLease(ctx context.Context, number int) (progressed bool, err error) {
	lease, err := e.o.Bus.Acquire(ctx, leaseName(number))
	if err != nil {
		return false, err
	}
	defer lease.Release()
	e.progress[number].leased.Store(true)
	defer e.progress[number].leased.Store(false)
	e.o.Metrics.partitions.Inc()
	defer e.o.Metrics.partitions.Dec()
	p := newPartition(e.o, number, lease, &e.progress[number])
	err = p.run(ctx)
	return p.progressed, err
}

// Drain blocks until every chunk is enriched that was on TTY when it was called, as far as its
// lines are finished, in the partitions whose leases this process has.
func (e *Enricher) Drain(ctx context.Context) error {
	end, err := e.o.Bus.End(ctx, schema.StreamTTY)
	if err != nil {
		return err
	}
	for i := range e.progress {
		position := func() uint64 {
			if !e.progress[i].leased.Load() {
				return end
			}
			return e.progress[i].settled.Load()
		}
		if err := e.o.Bus.WaitFor(ctx, schema.StreamTTY, []string{schema.FilterTTY(i)}, end, position); err != nil {
			return err
		}
	}
	return nil
}

// reclaimer returns a reclaimer that removes enriched chunks from TTY. The last chunk of an
// operation that has not ended stays: the gateway records a missing end after it.
func (e *Enricher) reclaimer() *reclaim.Reclaimer {
	return &reclaim.Reclaimer{
		Bus: e.o.Bus, Stream: schema.StreamTTY, Filter: schema.FilterTTY, Purged: e.o.Metrics.purged.WithLabelValues(schema.StreamTTY), Log: e.o.Log,
		Needed: func(ctx context.Context, partition int, _ uint64) (uint64, error) {
			p, _, err := e.o.Bus.Progress(ctx, leaseName(partition))
			return p.Sequence + 1, err
		},
		Ended: func(data []byte) bool {
			var c schema.Chunk
			if schema.DecodeChunk(data, &c) != nil || len(c.Frames) == 0 {
				return false
			}
			return c.Frames[len(c.Frames)-1].Kind == schema.FrameEnd
		},
	}
}
