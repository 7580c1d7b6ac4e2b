package session

import "time"

// warnings are the times before a session's expiry at which its user is warned.
var warnings = [...]time.Duration{10 * time.Minute, time.Minute}

// warn schedules warnings to the user before the session expires, on standard error if that is
// separate, to keep a command's standard output intact. The returned function cancels them; a
// warning in progress then continues until it is written or the capture has ended.
//
// A session that lasts less than twice the remaining time gets no warning: its banner, which states
// the end, was shown recently.
func (s *running) warn() (stop func()) {
	var timers []*time.Timer // instead of a goroutine that waits for days
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
