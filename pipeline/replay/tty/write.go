package tty

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// WriteAll writes a session's output to standard output at once, and then that of the records that
// come, until more is closed; nil for none. A terminal gets it through the filter, everything else
// gets the exact bytes.
func WriteAll(ctx context.Context, timeline *replay.Timeline, more <-chan *replay.Record) error {
	var filter *replay.Filter
	if term.IsTerminal(int(os.Stdout.Fd())) {
		filter = new(replay.Filter)
		defer func() { os.Stdout.Write(filter.AppendReset(nil)) }()
	}
	written := 0
	for {
		for ; written < len(timeline.Moments()); written++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			m := &timeline.Moments()[written]
			shown := m.Bytes
			if filter != nil {
				shown = filter.Append(nil, timeline.Show(m))
			}
			if _, err := os.Stdout.Write(shown); err != nil {
				return fmt.Errorf("write the session: %w", err)
			}
		}
		if more == nil {
			return nil
		}
		select {
		case r, ok := <-more:
			if !ok {
				return context.Cause(ctx)
			}
			timeline.Add(r)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
