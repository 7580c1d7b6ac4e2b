package session

import (
	"context"
	"time"
)

// warnings are how long before the end of its time a session is told of it.
var warnings = [...]time.Duration{10 * time.Minute, time.Minute}

// warn tells the person that the session's time is nearly over, on standard error where that is apart: what a command
// writes to standard output stays as it is. It ends after the last warning, or with ctx.
//
// A session that does not last twice as long as the time that is left is not told: its banner says when it ends,
// and was shown not longer ago.
func (s *running) warn(ctx context.Context) {
	whole := s.op.Expires.Sub(s.op.Started)
	for _, left := range warnings {
		if whole < 2*left {
			continue
		}
		timer := time.NewTimer(time.Until(s.op.Expires.Add(-left)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		in := "10 minutes"
		if left == time.Minute {
			in = "one minute"
		}
		s.announce("this session ends in " + in + ", at " + s.op.Expires.Format("15:04:05 UTC") + ", when its time is over: save your work")
	}
}
