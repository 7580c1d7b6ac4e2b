package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ttydrain/ttydrain/schema"
)

// maxAhead is how many chunks Watch keeps that came before their predecessor. A capture has fewer
// under way.
const maxAhead = 256

// ErrNoTerminal is of a process that does not read what sessions show as they show it.
var ErrNoTerminal = errors.New("this ttydrain does not read the TTY stream: the gateway and the enricher do")

// Watch calls each with what a session has shown and shows, frame by frame, in order and once,
// until it ends: the frame of its end is the last one. caught is called whenever each has got all
// that is there. A chunk that can't be read is passed over.
//
// It reads TTY, and so is ahead of the drains: what is shown there is recorded, and may not have
// been enriched. The payloads are each's.
func (o *SessionOperator) Watch(ctx context.Context, operation string, each func(schema.Frame) error, caught func() error) error {
	if !o.Bus.Has(schema.StreamTTY) {
		return ErrNoTerminal
	}
	reader, err := o.Bus.Read(ctx, schema.StreamTTY, []string{schema.FilterOperationTTY(operation, o.Bus.Partitions())}, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	next, first := uint64(0), true
	ahead := make(map[uint64]schema.Chunk)
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		var c schema.Chunk
		err = schema.DecodeChunk(m.Data, &c)
		switch {
		case errors.Is(err, schema.ErrVersion):
			return fmt.Errorf("watch session %s: %w", operation, err)
		case err == nil && first: // of those before it, the stream has given up what was delivered
			next, first = c.Ordinal, false
			ahead[c.Ordinal] = c
		case err == nil && c.Ordinal >= next: // and no repeat
			ahead[c.Ordinal] = c
		}
		if len(ahead) > maxAhead { // the one before them does not come any more
			next = slices.Min(slices.Collect(maps.Keys(ahead)))
		}
		for ; ; next++ {
			c, ok := ahead[next]
			if !ok {
				break
			}
			delete(ahead, next)
			for _, f := range c.Frames {
				if err := each(f); err != nil {
					return err
				}
				if f.Kind == schema.FrameEnd {
					return nil
				}
			}
		}
		if m.Pending == 0 {
			if err := caught(); err != nil {
				return err
			}
		}
	}
}
