package session

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// resizeInterval is the minimum time between two changes of a terminal's size. Dragging a window
// sends hundreds of changes, each of which would be a record.
const resizeInterval = 100 * time.Millisecond

// control applies window changes, forwards signals, and closes the output when the client no longer
// reads it.
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
			changed = window.request(size)
		case <-window.due:
			changed = window.deferred()
		case name := <-s.client.Signals:
			if err := p.Signal(name); err != nil {
				s.log.Warn("signal not sent", "error", err)
			}
		case <-ctx.Done():
			return
		}
		if changed {
			s.resize(p, &window)
		}
	}
}

// closeOutput closes the command's output, which is no longer read. As with sshd, a command without
// a terminal keeps running until it writes; one with a terminal has nothing left to run for.
func (s *running) closeOutput(ctx context.Context, p Process) {
	s.log.Info("client closed the output")
	s.outputClosed.Store(true)
	if err := p.CloseOutput(); err != nil {
		s.log.Warn("session ended: its output could not be closed", "error", err)
		p.Kill()
		return
	}
	if s.req.Terminal != nil {
		timer := time.AfterFunc(hangUpGrace, p.Kill)
		context.AfterFunc(ctx, func() { timer.Stop() })
	}
}

// resize sets the terminal's size to the requested one. It is recorded only if the size in cells
// changed: a size in pixels does not affect the text.
func (s *running) resize(p Process, window *resizer) {
	before, size := window.now, window.requested
	if err := p.Resize(size); err != nil {
		s.log.Warn("terminal not resized", "error", err)
		return
	}
	window.applied()
	if size.Width == before.Width && size.Height == before.Height {
		return
	}
	s.record(schema.FrameResize, &schema.Detail{Width: size.Width, Height: size.Height})
}

// resizer decides when a terminal changes its size: immediately, but at most once per
// resizeInterval, and then to the size that was requested last.
type resizer struct {
	now, requested Size
	isDeferred     bool             // requested is applied when due fires
	due            <-chan time.Time // the earliest time of the next change; nil for immediately
}

// request notes the client's new size and reports whether to apply it immediately.
func (r *resizer) request(size Size) bool {
	r.requested, r.isDeferred = size, r.due != nil
	return !r.isDeferred && size != r.now
}

// deferred is called when due fires, and reports whether a requested size is to be applied.
func (r *resizer) deferred() bool {
	waited := r.isDeferred
	r.isDeferred, r.due = false, nil
	return waited && r.requested != r.now
}

// applied notes that the terminal has the requested size.
func (r *resizer) applied() {
	r.now, r.due = r.requested, time.After(resizeInterval)
}
