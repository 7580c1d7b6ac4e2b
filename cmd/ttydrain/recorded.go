package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// readSession reads one operation's session out of a copy.
func readSession(ctx context.Context, source replay.Copy, sel replay.Selection) (*replay.Session, error) {
	var found []*replay.Session
	summary, err := replay.Sessions(ctx, source, sel, func(s *replay.Session) error {
		found = append(found, s)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0 && summary.BrokenCount > 0:
		return nil, fmt.Errorf("session %s is not there; %d records can't be read: see \"ttydrain audit\"", sel.Operation, summary.BrokenCount)
	case len(found) == 0:
		return nil, fmt.Errorf("session %s is not there: \"ttydrain audit\" lists the sessions of a copy", sel.Operation)
	case len(found) > 1:
		var each []string
		for _, s := range found {
			each = append(each, fmt.Sprintf("one of %s on %s, %s", cell(s.Operation.User.Name), cell(s.Operation.App), localTime(s.Started)))
		}
		return nil, fmt.Errorf("there are %d sessions with the ID %s: %s: choose with --app, --user or --since", len(found), sel.Operation, strings.Join(each, "; "))
	}
	return found[0], nil
}

// describeSession tells a person which session it is.
func describeSession(s *replay.Session) string {
	op := s.Operation
	text := "session " + op.ID
	if op.User.Name != "" { // not every copy has who it was
		text += " of " + cell(op.User.Name)
	}
	text += fmt.Sprintf(" on %s, %s", cell(op.App), localTime(s.Started))
	if op.Command != "" {
		text += ": " + cell(op.Command)
	}
	return text
}

// tellDoubts tells why a session is not, or may not be, as it was.
func tellDoubts(w io.Writer, s *replay.Session) {
	tell := func(format string, args ...any) { fmt.Fprintf(w, "ttydrain: "+format+"\n", args...) }
	missing, last, differing := uint64(0), uint64(0), 0
	for _, r := range s.Records {
		switch {
		case r.Sequence > last:
			missing += r.Sequence - last - 1
			last = r.Sequence
		default:
			differing++
		}
	}
	if missing > 0 {
		tell("%d records are missing", missing)
	}
	if differing > 0 {
		tell("%d records are there in another form, too, which is not shown: \"ttydrain audit\" tells where", differing)
	}
	if len(s.Broken) > 0 {
		tell("%d records can't be read: \"ttydrain audit\" tells where", len(s.Broken))
	}
	if s.End() == nil {
		tell("its end is not there: it goes on, or has not come")
	}
	switch {
	case s.Lost.Has(replay.LostLog):
		tell("this copy does not have the exact bytes of all records: in their place are the texts")
	case s.Lost.Has(replay.LostTiming), s.Lost.Has(replay.LostTime):
		tell("this copy does not have the times of all that was shown")
	}
}

// A follower reads the LOGS stream on and on, over restarts of the ttydrain that it asks.
type follower struct {
	stream *replay.Stream
	// lost is told of each time that reading fails, and goes on in a moment.
	lost func(error)
}

// followAgain is how long a follower waits before it asks again.
const followAgain = time.Second

// errOver ends following without being an error.
var errOver = errors.New("nothing more is to be read")

// run gives the records to each, in the order of the stream, until ctx is done, of which it returns
// the cause, or each returns an error; errOver is none. An answer that refuses is the error of the
// first time.
func (f *follower) run(ctx context.Context, each func(*replay.Record) error) error {
	f.stream.Follow = true
	began := time.Now()
	seen := make(map[string]uint64) // of a message of which a part was given, by operation
	for first := true; ; first = false {
		var stop error
		err := f.stream.Read(ctx, replay.Visitor{Record: func(r *replay.Record) error {
			if r.Sequence <= seen[r.Operation.ID] || f.stream.Selection.Since.Equal(began) && r.Time < began.UnixNano() {
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
		case errors.Is(stop, errOver):
			return nil
		case stop != nil:
			return stop
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case first && !errors.Is(err, replay.ErrInterrupted):
			return err
		}
		if f.stream.After = f.stream.Last; f.stream.After == 0 && f.stream.Now { // nothing has come yet
			f.stream.Now, f.stream.Selection.Since = false, began
		}
		f.lost(err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followAgain):
		}
	}
}
