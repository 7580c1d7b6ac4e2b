package session

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// resizeInterval is the least time between two changes of a terminal's size. A window that is
// dragged sends hundreds of changes, each of which would be a record.
const resizeInterval = 100 * time.Millisecond

// control applies window changes, passes signals on, and closes the output that the client does not
// take any more.
func (s *running) control(ctx context.Context, p Process) {
	outputClosed := s.client.OutputClosed
	var window resizer
	if s.req.Terminal != nil {
		window.now = s.req.Terminal.Size
	}
	for {
		var changed bool
		select {
		case <-outputClosed:
			outputClosed = nil // it stays closed
			s.closeOutput(ctx, p)
		case size := <-s.client.Resize:
			changed = window.want(size)
		case <-window.due:
			changed = window.again()
		case name := <-s.client.Signals:
			if err := p.Signal(name); err != nil {
				s.log.Warn("a signal could not be sent", "error", err)
			}
		case <-ctx.Done():
			return
		}
		if changed {
			s.resize(p, &window)
		}
	}
}

// closeOutput closes the command's output, which nobody sees any more. As with sshd, a command
// without a terminal runs on until it writes; one with a terminal has nothing left to run for.
func (s *running) closeOutput(ctx context.Context, p Process) {
	s.log.Info("the client takes no more output")
	s.outputClosed.Store(true)
	if err := p.CloseOutput(); err != nil {
		s.log.Warn("a session's output could not be closed, and the session is ended", "error", err)
		p.Kill()
		return
	}
	if s.req.Terminal != nil {
		timer := time.AfterFunc(hangUpGrace, p.Kill)
		context.AfterFunc(ctx, func() { timer.Stop() })
	}
}

// resize gives the terminal the size that is wanted, and records it where it has other cells than
// before: a size in pixels changes no text.
func (s *running) resize(p Process, window *resizer) {
	before, size := window.now, window.wanted
	if err := p.Resize(size); err != nil {
		s.log.Warn("a terminal could not be resized", "error", err)
		return
	}
	window.applied()
	if size.Width == before.Width && size.Height == before.Height {
		return
	}
	s.record(schema.FrameResize, &schema.Detail{Width: size.Width, Height: size.Height})
}

// A resizer decides when a terminal changes its size: at once, but once in a resizeInterval, and
// then to the last size that was wanted.
type resizer struct {
	now, wanted Size
	waits       bool             // wanted is for when due is
	due         <-chan time.Time // when the next change may be; nil for at once
}

// want takes a size that the client has now, and reports whether the terminal is to have it at
// once.
func (r *resizer) want(size Size) bool {
	r.wanted, r.waits = size, r.due != nil
	return !r.waits && size != r.now
}

// again reports whether a size has waited until due that the terminal is to have.
func (r *resizer) again() bool {
	waited := r.waits
	r.waits, r.due = false, nil
	return waited && r.wanted != r.now
}

// applied notes that the terminal has the size that was wanted.
func (r *resizer) applied() {
	r.now, r.due = r.wanted, time.After(resizeInterval)
}
