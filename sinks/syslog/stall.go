package syslog

import (
	"context"
	"sync"
	"time"
)

// A stall ends a delivery that makes no progress. Its timer runs until end.
type stall struct {
	timeout  time.Duration
	cancel   context.CancelCauseFunc
	advanced func() bool // reports whether there was progress since the last call; called with mu held

	mu    sync.Mutex // guards the fields below, and those that advanced reads
	timer *time.Timer
	at    time.Time // of the last progress that was seen
	ended bool
}

// watchProgress returns a stall that cancels with errSlow when there was no progress for the
// timeout. end has to be called.
func watchProgress(timeout time.Duration, cancel context.CancelCauseFunc, advanced func() bool) *stall {
	s := &stall{timeout: timeout, cancel: cancel, advanced: advanced, at: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.interval(), s.check)
	return s
}

// interval returns the time between two checks.
func (s *stall) interval() time.Duration { return min(max(s.timeout/8, time.Millisecond), time.Second) }

// check is called by the timer.
func (s *stall) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if s.advanced() {
		s.at = time.Now()
	}
	if time.Since(s.at) >= s.timeout {
		s.cancel(errSlow)
		return
	}
	s.timer.Reset(s.interval())
}

// end ends the checks, and returns the time of the last progress that was seen.
func (s *stall) end() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.timer.Stop()
	return s.at
}
