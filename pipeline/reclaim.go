package pipeline

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// A stream that is nearly full gives up its oldest delivered data. On TTY, a chunk is delivered
// when everything in it is on LOGS; on LOGS, a segment is when each drain has it that is to get it.
// Of an operation that has not ended, the last message stays: the enricher goes on from the segment
// on LOGS, and the gateway records a missing end after the chunk on TTY.

const (
	// reclaimSlowest and reclaimFastest bound how often a stream is looked at. In between it is by
	// the time in which reclaimRate bytes a second, more than is ever written, would make it
	// scarce.
	reclaimSlowest, reclaimFastest = 2 * time.Second, 50 * time.Millisecond
	reclaimRate                    = 256 << 20
	// reclaimAgain is how long a stream is left alone of which nothing can be removed, or that
	// cannot be asked.
	reclaimAgain = time.Second
	// reclaimRounds is in how many parts of a stream, the oldest first, delivered data are looked
	// for.
	reclaimRounds = 32
	// compactAfter is how long after a removal the disk is looked at again: NATS compacts its files
	// every ten seconds.
	compactAfter = 12 * time.Second
	// refusedAgain is the time between two reports of a missing permission.
	refusedAgain = time.Hour
)

// A reclaimer removes delivered messages of a stream that is nearly full.
type reclaimer struct {
	bus    *bus.Bus
	stream string
	filter func(partition int) string // matches the messages of a partition
	// needed returns the sequence of the first message of a partition that is still needed.
	// end is that of the last message of the stream.
	needed func(ctx context.Context, partition int, end uint64) (uint64, error)
	// ended reports whether a message is the last of its operation.
	ended func(data []byte) bool
	// compacts is until when the removed messages may still be on the disk. Of the goroutine of
	// run.
	compacts time.Time
	purged   prometheus.Counter
	log      *slog.Logger
}

// run removes delivered messages, whenever the stream is nearly full, until ctx is done.
func (r *reclaimer) run(ctx context.Context) {
	var refused time.Time // when a missing permission was reported
	for {
		wait, err := r.reclaim(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case bus.IsRefused(err):
			if time.Since(refused) > refusedAgain {
				refused = time.Now()
				r.log.Warn("the stream is nearly full, and this process may not remove delivered data", "stream", r.stream, "error", err)
			}
		case err != nil:
			r.log.Warn("delivered data could not be removed from a stream that is nearly full", "stream", r.stream, "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// reclaim looks at the stream once, and returns after how long to look again.
func (r *reclaimer) reclaim(ctx context.Context) (wait time.Duration, err error) {
	need, usage, err := r.bus.Scarce(ctx, r.stream)
	if err != nil {
		return reclaimAgain, err
	}
	onDisk := !usage.Scarce()
	if need > 0 && onDisk && time.Now().Before(r.compacts) {
		return reclaimAgain, nil
	}
	if need == 0 {
		until := time.Duration(float64(r.bus.Headroom(usage)) / reclaimRate * float64(time.Second))
		return min(max(until, reclaimFastest), reclaimSlowest), nil
	}
	freed, err := r.remove(ctx, need, usage)
	if err != nil || freed == 0 {
		return reclaimAgain, err
	}
	if onDisk {
		r.compacts = time.Now().Add(compactAfter)
	}
	return reclaimFastest, r.bus.SettlePurge(r.stream)
}

// remove removes delivered messages of so many bytes, the oldest first, or as many as there are. It
// returns the bytes of those removed, less what was written meanwhile.
func (r *reclaimer) remove(ctx context.Context, need uint64, usage bus.Usage) (freed uint64, err error) {
	limits := make([]uint64, r.bus.Partitions()) // first sequence that is needed
	most := uint64(0)
	for p := range limits {
		if limits[p], err = r.needed(ctx, p, usage.Last); err != nil {
			return 0, err
		}
		most = max(most, limits[p])
	}
	before := usage.Bytes
	// Where all messages are of one size, the bytes that are needed are in the first step of them.
	step := max((usage.Last-usage.First+1)/reclaimRounds, uint64(float64(usage.Last-usage.First+1)*float64(need)/float64(usage.Bytes)), 1)
	for from := usage.First; from < most && freed < need; from += step {
		removed := uint64(0)
		for p := range limits {
			n, err := r.removePart(ctx, p, from, min(from+step, limits[p]))
			if err != nil {
				return freed, err
			}
			removed += n
		}
		if removed == 0 {
			continue
		}
		now, err := r.bus.Usage(ctx, r.stream)
		if err != nil {
			return freed, err
		}
		freed = before - min(now.Bytes, before)
		r.purged.Add(float64(removed))
	}
	if freed > 0 {
		r.log.Info("the oldest delivered data were removed from a stream that was nearly full", "stream", r.stream, "bytes", freed)
	}
	return freed, nil
}

// removePart removes the messages of a partition from one sequence to before another, one operation
// after the other, and returns about how many.
func (r *reclaimer) removePart(ctx context.Context, partition int, from, before uint64) (removed uint64, err error) {
	for from < before {
		m, ok, err := r.bus.First(ctx, r.stream, []string{r.filter(partition)}, from-1)
		if err != nil || !ok || m.Sequence >= before {
			return removed, err
		}
		from = m.Sequence + 1
		last, ok, err := r.bus.Last(ctx, r.stream, m.Subject)
		if err != nil {
			return removed, err
		}
		if !ok {
			continue // removed meanwhile
		}
		until := before
		if !r.ended(last.Data) {
			until = min(until, last.Sequence)
		}
		if m.Sequence >= until {
			continue
		}
		if err := r.bus.Purge(ctx, r.stream, m.Subject, until); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// reclaimer removes chunks that are enriched.
func (e *Enricher) reclaimer() *reclaimer {
	return &reclaimer{
		bus: e.o.Bus, stream: schema.StreamTTY, filter: schema.FilterTTY, purged: e.o.Metrics.purged.WithLabelValues(schema.StreamTTY), log: e.o.Log,
		needed: func(ctx context.Context, partition int, _ uint64) (uint64, error) {
			p, _, err := e.o.Bus.Progress(ctx, enrichLease(partition))
			return p.Sequence + 1, err
		},
		ended: func(data []byte) bool {
			var c schema.Chunk
			if schema.DecodeChunk(data, &c) != nil || len(c.Frames) == 0 {
				return false
			}
			return c.Frames[len(c.Frames)-1].Kind == schema.FrameEnd
		},
	}
}

// reclaimer removes segments that all drains have.
func (r *Router) reclaimer() *reclaimer {
	var decoder schema.Decoder // of the reclaimer's goroutine
	return &reclaimer{
		bus: r.o.Bus, stream: schema.StreamLogs, purged: r.o.Metrics.purged.WithLabelValues(schema.StreamLogs), log: r.o.Log,
		filter: func(partition int) string { return schema.FilterLogs(partition, "", "") },
		needed: r.undelivered,
		ended: func(data []byte) bool {
			segment, err := decoder.Segment(data)
			if err != nil || len(segment.Records) == 0 {
				return false
			}
			return segment.Records[len(segment.Records)-1].Event == schema.EventEnd
		},
	}
}

// undelivered returns the sequence of the first segment of a partition that a drain does not have
// yet: one of this router's, or one that another router of the cluster works for. Without any drain
// that is the first one.
func (r *Router) undelivered(ctx context.Context, partition int, end uint64) (uint64, error) {
	filters := make(map[string][]string) // by drain
	for _, w := range r.currentWorkers() {
		if w.target.partition == partition {
			filters[w.target.drain.Name] = w.target.filters
		}
	}
	// A router that has loaded a newer configuration may have more drains.
	states, err := r.o.Bus.DrainStates(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range states {
		if filters[s.Drain] == nil {
			filters[s.Drain] = []string{schema.FilterLogs(partition, "", "")}
		}
	}
	if len(filters) == 0 {
		return 1, nil
	}
	first := end + 1
	for drain, filters := range filters {
		p, _, err := r.o.Bus.Progress(ctx, LeaseName(drain, partition))
		if err != nil {
			return 0, err
		}
		control, err := r.o.Bus.DrainControl(ctx, drain)
		if err != nil {
			return 0, err
		}
		after := p.Sequence
		if control.Rewind != nil && control.Rewind.ID != p.Rewind { // a worker will follow it
			after = min(after, control.Rewind.After)
		}
		unread, err := r.o.Bus.FirstUnread(ctx, schema.StreamLogs, filters, after, end)
		if err != nil {
			return 0, err
		}
		first = min(first, unread)
	}
	return first, nil
}
