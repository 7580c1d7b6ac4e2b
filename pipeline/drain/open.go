package drain

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/ttydrain/ttydrain/sinks"
)

// OpenSinks opens a sink for each of n workers. A sink that allows several writes at a time is the
// same for all of them, with the same connections and buffers.
func (d *Drain) OpenSinks(n int) ([]sinks.Sink, error) {
	all := make([]sinks.Sink, 0, n)
	for len(all) < n {
		sink, err := d.Open()
		if err != nil {
			for _, s := range all {
				err = errors.Join(err, s.Close())
			}
			return nil, fmt.Errorf("drain %s: %w", d.Name, err)
		}
		if d.Writers > 1 {
			shared := &sharedSink{Sink: sink}
			shared.users.Store(int32(n))
			return slices.Repeat([]sinks.Sink{shared}, n), nil
		}
		all = append(all, sink)
	}
	return all, nil
}

// A sharedSink closes its sink when the last worker has closed it.
type sharedSink struct {
	sinks.Sink
	users atomic.Int32
}

func (s *sharedSink) Close() error {
	if s.users.Add(-1) > 0 {
		return nil
	}
	return s.Sink.Close()
}
