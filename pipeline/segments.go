package pipeline

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A SegmentQuery says which segments of LOGS are wanted.
type SegmentQuery struct {
	Operation, App, Stack string // "" stands for any
	// Since leaves out what was published before.
	Since time.Time
	// Now leaves out all that is there already.
	Now bool
	// After leaves out what is up to this sequence of LOGS.
	After uint64
	// Follow goes on with what is published later.
	Follow bool
}

// Segments reads the segments of LOGS that are wanted. begin is told how many there are, and each
// gets them in order, with the sequence on LOGS, and whether more are there already. It ends when
// all that were there are read or, to follow, with ctx.
func (o *Operator) Segments(ctx context.Context, q SegmentQuery, begin func(count uint64), each func(sequence uint64, data []byte, more bool) error) error {
	filter := schema.FilterLogs(-1, q.Stack, q.App)
	if q.Operation != "" { // whose stack and app are what they are
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
