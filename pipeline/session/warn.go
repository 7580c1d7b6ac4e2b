package session

import "time"

// warnings are how long before the end of its time a session is told of it.
var warnings = [...]time.Duration{10 * time.Minute, time.Minute}

// warn has the person told that the session's time is nearly over, on standard error where that is
// apart: what a command writes to standard output stays as it is. The caller stops it; what is
// being told then goes on until it is told, or the capture has ended.
//
// A session that does not last twice as long as the time that is left is not told: its banner says
// when it ends, and was shown not longer ago.
func (s *running) warn() (stop func()) {
	var timers []*time.Timer // and no goroutine that waits for days
	whole := s.op.Expires.Sub(s.op.Started)
	for _, left := range warnings {
		if whole < 2*left {
			continue
		}
		in := "10 minutes"
		if left == time.Minute {
			in = "one minute"
		}
		timers = append(timers, time.AfterFunc(time.Until(s.op.Expires.Add(-left)), func() {
			s.announce("this session ends in " + in + ", at " + s.op.Expires.Format("15:04:05 UTC") + ", when its time is over: save your work")
		}))
	}
	return func() {
		for _, timer := range timers {
			timer.Stop()
		}
	}
}
