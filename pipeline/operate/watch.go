package operate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ttydrain/ttydrain/schema"
)

// maxAhead bounds the out-of-order chunks that Watch keeps. Capture has fewer in flight.
const maxAhead = 256

// ErrNoTerminal is returned in a process that does not read the TTY stream.
var ErrNoTerminal = errors.New("this process does not read the TTY stream: ask a gateway or an enricher")

// Watch calls each with every frame of a session, from the beginning and as it is recorded, in
// order and once, until the frame of its end. caught is called whenever each has had all recorded
// frames. An unreadable chunk is skipped.
//
// It reads TTY, and so is ahead of the drains: the frames are recorded, but perhaps not enriched
// yet.
// each may keep the payloads.
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
		case err == nil && first: // the stream may have removed the chunks before it
			next, first = c.Ordinal, false
			ahead[c.Ordinal] = c
		case err == nil && c.Ordinal >= next: // and no repeat
			ahead[c.Ordinal] = c
		}
		if len(ahead) > maxAhead { // their predecessor is lost
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
