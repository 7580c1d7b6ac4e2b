package router

import (
	"context"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/reclaim"
	"github.com/ttydrain/ttydrain/schema"
)

// reclaimer returns a reclaimer that removes segments from LOGS that all drains have. The last
// segment of an operation that has not ended stays: the enricher resumes from it.
func (r *Router) reclaimer() *reclaim.Reclaimer {
	var decoder schema.Decoder // of the reclaimer's goroutine
	return &reclaim.Reclaimer{
		Bus: r.o.Bus, Stream: schema.StreamLogs, Purged: r.o.Metrics.purged.WithLabelValues(schema.StreamLogs), Log: r.o.Log,
		Filter: func(partition int) string { return schema.FilterLogs(partition, "", "") },
		Needed: r.firstUndelivered,
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
// drain of this router, or of another router of the cluster. Without any drain it returns 1.
func (r *Router) firstUndelivered(ctx context.Context, partition int, end uint64) (uint64, error) {
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
	for name, filters := range filters {
		p, _, err := r.o.Bus.Progress(ctx, drain.LeaseName(name, partition))
		if err != nil {
			return 0, err
		}
		control, err := r.o.Bus.DrainControl(ctx, name)
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
