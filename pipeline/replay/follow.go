package replay

import (
	"context"
	"errors"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// followRetry is the time after which a Follower asks again.
const followRetry = time.Second

// ErrStop ends [Follower.Run] without an error.
var ErrStop = errors.New("stop following")

// Follower reads the LOGS stream and continues with new records, across restarts of the ttydrain
// that it reads from. It is not safe for concurrent use.
type Follower struct {
	Stream *Stream // its Follow is set
	// Interrupted is called with the error when reading has failed, before it is tried again.
	Interrupted func(error)
}

// Run calls each with every record, once and in the order of the stream, until it returns an error;
// [ErrStop] is not returned. When ctx is done, Run returns the cause. It retries errors of reading,
// except for a refusal of the first request.
func (f *Follower) Run(ctx context.Context, each func(*Record) error) error {
	f.Stream.Follow = true
	began := time.Now()
	seen := make(map[string]uint64) // the last sequence by operation: a message can be read in part
	for first := true; ; first = false {
		var stop error
		err := f.Stream.Read(ctx, Visitor{Record: func(r *Record) error {
			if r.Sequence <= seen[r.Operation.ID] || f.Stream.Selection.Since.Equal(began) && r.Time < began.UnixNano() {
				return nil
			}
			seen[r.Operation.ID] = r.Sequence
			if r.Event == schema.EventEnd {
				delete(seen, r.Operation.ID)
			}
			stop = each(r)
			return stop
		}})
		switch {
		case errors.Is(stop, ErrStop):
			return nil
		case stop != nil:
			return stop
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case first && !errors.Is(err, ErrInterrupted):
			return err
		}
		if f.Stream.After = f.Stream.Last; f.Stream.After == 0 && f.Stream.Now { // nothing has come yet
			f.Stream.Now, f.Stream.Selection.Since = false, began
		}
		f.Interrupted(err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followRetry):
		}
	}
}
