package operate

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A SegmentQuery selects segments of LOGS.
type SegmentQuery struct {
	Operation, App, Stack string // "" matches any
	// Since omits segments that were published before.
	Since time.Time
	// Now omits all segments that exist already.
	Now bool
	// After omits segments up to this sequence on LOGS.
	After uint64
	// Follow continues with segments that are published later.
	Follow bool
}

// Segments reads the segments that a query selects. It calls begin with their number, and each with
// every segment in order, its sequence on LOGS, and whether there are more already. It returns when
// all existing segments are read or, with Follow, when ctx is done.
func (o *Operator) Segments(ctx context.Context, q SegmentQuery, begin func(count uint64), each func(sequence uint64, data []byte, more bool) error) error {
	filter := schema.FilterLogs(-1, q.Stack, q.App)
	if q.Operation != "" { // of which stack and app follow
		filter = schema.FilterOperation(q.Operation, o.Bus.Partitions())
	}
	after := q.After
	var err error
	switch {
	case q.Now:
		after, err = o.Bus.End(ctx, schema.StreamLogs)
	case !q.Since.IsZero() && after == 0:
		after, err = o.Bus.BeforeTime(ctx, q.Since)
	}
	if err != nil {
		return err
	}
	count, err := o.Bus.Count(ctx, schema.StreamLogs, []string{filter}, after)
	if err != nil {
		return err
	}
	begin(count)
	if count == 0 && !q.Follow {
		return nil
	}
	reader, err := o.Bus.Read(ctx, schema.StreamLogs, []string{filter}, after)
	if err != nil {
		return err
	}
	defer reader.Close()
	if reader.Pending() == 0 && !q.Follow { // they were removed meanwhile
		return nil
	}
	for n := uint64(1); ; n++ {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := each(m.Sequence, m.Data, m.Pending > 0); err != nil {
			return err
		}
		if !q.Follow && (n >= count || m.Pending == 0) {
			return nil
		}
	}
}
