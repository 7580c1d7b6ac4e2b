package router

import (
	"context"
	"log/slog"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
	"github.com/ttydrain/ttydrain/schema"
)

// newReclaimer returns a reclaimer that removes segments from LOGS that all drains have. workers
// returns the current workers. The last segment of an operation that has not ended stays: the
// enricher resumes from it.
func newReclaimer(b *bus.Bus, m *Metrics, log *slog.Logger, workers func() []*worker) *reclaim.Reclaimer {
	var decoder schema.Decoder // of the reclaimer's goroutine
	return &reclaim.Reclaimer{
		Bus: b, Stream: schema.StreamLogs, Purged: m.purged.WithLabelValues(schema.StreamLogs), Log: log,
		Filter: func(partition int) string { return schema.FilterLogs(partition, "", "") },
		Needed: func(ctx context.Context, partition int, end uint64) (uint64, error) {
			return firstUndelivered(ctx, b, workers(), partition, end)
		},
		Ended: func(data []byte) bool {
			segment, err := decoder.Segment(data)
			if err != nil || len(segment.Records) == 0 {
				return false
			}
			return segment.Records[len(segment.Records)-1].Event == schema.EventEnd
		},
	}
}

// firstUndelivered returns the sequence of the first segment of a partition that a drain lacks: a
// drain of one of the workers, or of another router of the cluster. Without any drain it returns 1.
func firstUndelivered(ctx context.Context, b *bus.Bus, workers []*worker, partition int, end uint64) (uint64, error) {
	filters := make(map[string][]string) // by drain
	for _, w := range workers {
		if w.target.partition == partition {
			filters[w.target.drain.Name] = w.target.filters
		}
	}
	// A router that has loaded a newer configuration may have more drains.
	states, err := b.DrainStates(ctx)
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
	for name, filters := range filters {
		p, _, err := b.Progress(ctx, drain.LeaseName(name, partition))
		if err != nil {
			return 0, err
		}
		control, err := b.DrainControl(ctx, name)
		if err != nil {
			return 0, err
		}
		after := p.Sequence
		if control.Rewind != nil && control.Rewind.ID != p.Rewind { // a worker will follow it
			after = min(after, control.Rewind.After)
		}
		unread, err := b.FirstUnread(ctx, schema.StreamLogs, filters, after, end)
		if err != nil {
			return 0, err
		}
		first = min(first, unread)
	}
	return first, nil
}
