package replay

import (
	"context"
	"errors"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// followRetry is the time after which a Follower asks again.
const followRetry = time.Second

// Follower reads the LOGS stream and continues with new records, across restarts of the ttydrain
// that it reads from. It is not safe for concurrent use.
type Follower struct {
	// Stream has the position to start at. Its Selection can be wider than that of the follower.
	Stream *Stream
	// Selection are the records to read: Since and Until are times of records. Of one operation,
	// there are none after its end.
	Selection Selection
	// Interrupted is called with the error when reading has failed, before it is tried again.
	Interrupted func(error)
}

// Run calls each with the selected records, once and in the order of the stream. It returns after
// the end of the selected operation, with the error of each, or with the cause when ctx is done. It
// retries errors of reading, except for a refusal of the first request.
func (f *Follower) Run(ctx context.Context, each func(*Record) error) error {
	f.Stream.Follow = true
	began := time.Now()
	seen := make(map[string]uint64) // the last sequence by operation: a message can be read in part
	for first := true; ; first = false {
		var stop error // of each
		ended := false
		err := f.Stream.Read(ctx, Visitor{Record: func(r *Record) error {
			if r.Sequence <= seen[r.Operation.ID] || f.Stream.Selection.Since.Equal(began) && r.Time < began.UnixNano() {
				return nil
			}
			seen[r.Operation.ID] = r.Sequence
			if r.Event == schema.EventEnd {
				delete(seen, r.Operation.ID)
			}
			if !f.selects(r, f.Selection.Since) {
				return nil
			}
			if stop = each(r); stop != nil {
				return stop
			}
			if ended = f.isEnd(r); ended {
				return errEnded
			}
			return nil
		}})
		switch {
		case ended:
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

// errEnded ends a read after the end of the selected operation.
var errEnded = errors.New("the session has ended")

// selects reports whether a record is selected, and from since on.
func (f *Follower) selects(r *Record, since time.Time) bool {
	until := f.Selection.Until
	return f.Selection.Matches(r.Operation) && (since.IsZero() || r.Time >= since.UnixNano()) && (until.IsZero() || r.Time < until.UnixNano())
}

// isEnd reports whether a record is the end of the selected operation.
func (f *Follower) isEnd(r *Record) bool {
	return f.Selection.Operation != "" && r.Event == schema.EventEnd
}

// lookBack are the periods in which the last lines are searched, one after the other; 0 is all
// time.
var lookBack = [...]time.Duration{time.Minute, time.Hour, 24 * time.Hour, 0}

// Recent reads the records that the stream has already; Run continues after them. It calls each
// with the selected ones or, if lines is not 0, with the last lines of them. If neither lines nor a
// time is selected, it calls each with none. It reports whether the selected operation has ended.
func (f *Follower) Recent(ctx context.Context, lines int, each func(*Record) error) (ended bool, err error) {
	periods := lookBack[:]
	if !f.Selection.Since.IsZero() || !f.Selection.Until.IsZero() || f.Selection.Operation != "" {
		periods = []time.Duration{0}
	}
	endOnly := lines == 0 && f.Selection.Since.IsZero() && f.Selection.Until.IsZero()
	var last []*Record
	for _, period := range periods {
		last = last[:0]
		since := f.Selection.Since
		if period > 0 {
			since = time.Now().Add(-period)
		}
		f.Stream.Selection.Since = since
		err := f.Stream.Read(ctx, Visitor{Record: func(r *Record) error {
			if !f.selects(r, since) {
				return nil
			}
			ended = ended || f.isEnd(r)
			switch {
			case endOnly:
				return nil
			case lines == 0:
				return each(r)
			}
			if last = append(last, r); len(last) >= 2*lines { // earlier ones are released
				last = append(make([]*Record, 0, 2*lines), last[len(last)-lines:]...)
			}
			return nil
		}})
		if err != nil {
			return false, err
		}
		if len(last) >= lines {
			break
		}
	}
	for _, r := range last[max(0, len(last)-lines):] {
		if err := each(r); err != nil {
			return false, err
		}
	}
	f.Stream.After = f.Stream.Last
	return ended, nil
}
