package client

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signalNames are the signals that are for the session, by their names in RFC 4254 §6.10.
var signalNames = map[syscall.Signal]string{
	syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT",
}

// SignalName returns the name of a signal in SSH, or "" for one that no session gets.
func SignalName(s syscall.Signal) string { return signalNames[s] }

// EndedBy is the error of an operation that a signal to this process ended.
type EndedBy syscall.Signal

// Error names the signal.
func (e EndedBy) Error() string { return "ended by the signal: " + syscall.Signal(e).String() }

// Signals are those that this process receives. While they are caught, none of them ends it, nor
// does a closed output, so that the terminal can be restored.
type Signals struct {
	received, pipe chan os.Signal
}

// CatchSignals catches SIGINT, SIGTERM, SIGHUP and SIGQUIT, unless they are ignored, and SIGPIPE
// until Stop is called.
func CatchSignals() *Signals {
	s := &Signals{received: make(chan os.Signal, 8), pipe: make(chan os.Signal, 1)}
	for sig := range signalNames {
		if !signal.Ignored(sig) { // as by nohup
			signal.Notify(s.received, sig)
		}
	}
	signal.Notify(s.pipe, syscall.SIGPIPE) // a write then fails instead of ending the process
	return s
}

// Stop lets the signals end the process again.
func (s *Signals) Stop() {
	signal.Stop(s.received)
	signal.Stop(s.pipe)
}

// Handle calls f with each signal, in one goroutine, until release is called, which waits for f. A
// signal that comes while there is no handler waits for the next one.
func (s *Signals) Handle(f func(syscall.Signal)) (release func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with done
		for {
			select {
			case <-done:
				return
			case sig := <-s.received:
				f(sig.(syscall.Signal))
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
