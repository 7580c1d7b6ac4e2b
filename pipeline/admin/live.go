package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxPast bounds the earlier output that a new viewer receives, in bytes; older output is
	// omitted.
	maxPast = 2 << 20
	// keepAliveInterval is the time between keep-alive messages to a viewer: proxies close quiet
	// connections.
	keepAliveInterval = 15 * time.Second
)

// live sends a session's output so far, and then new output as it appears, as events
// (text/event-stream of the HTML standard) in the form of asciinema-player: first an object with
// "cols", "rows" and "time", then arrays as in asciicast. The event "done" marks the end of the
// session.
//
// If this process does not read TTY, it follows LOGS instead: a line then appears when it is
// complete or ten seconds old.
func (a *api) live(ctx context.Context, w http.ResponseWriter, s *operate.SessionStatus) error {
	if s.State == operate.SessionEnded {
		return fmt.Errorf("session %s %w: replay it instead", s.Operation, errEnded)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // of nginx: see its proxy_buffering
	op := &schema.Operation{ID: s.Operation, Interactive: s.Interactive}
	l := &liveResponse{w: w, out: http.NewResponseController(w), op: op, cast: replay.NewAsciicast(op, s.Started.UnixNano())}
	if err := l.send(": here"); err != nil {
		return err
	}
	var keepAlive sync.WaitGroup
	defer keepAlive.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keepAlive.Go(func() { l.keepAlive(ctx) }) // ends with the response
	err := a.sessions.Watch(ctx, s.Operation, func(f schema.Frame) error {
		m := moment{stream: f.Kind.Stream()}
		switch {
		case f.Kind.IsOutput():
			m.shown = f.Payload
		case f.Kind == schema.FrameStart:
			var started schema.Operation
			if json.Unmarshal(f.Payload, &started) == nil {
				op.Width, op.Height = started.Width, started.Height
			}
		case f.Kind == schema.FrameResize:
			m.resize = new(schema.Detail)
			if json.Unmarshal(f.Payload, m.resize) != nil {
				m.resize = nil
			}
		}
		return l.add(m)
	}, l.caughtUp)
	if errors.Is(err, operate.ErrNoTerminal) {
		err = a.recorded(ctx, s.Operation, func(r *replay.Record) error {
			if r.Event == schema.EventStart {
				op.Width, op.Height = r.Operation.Width, r.Operation.Height
			}
			m := moment{stream: r.Stream, shown: r.Log}
			if r.Event == schema.EventResize {
				m.resize = r.Detail
			}
			return l.add(m)
		}, l.caughtUp)
	}
	if err != nil {
		return err
	}
	return l.end()
}

// errEnded is the error for a session that cannot be watched any more.
var errEnded = errors.New("has ended")

// moment is output, or a new size of the terminal.
type moment struct {
	stream schema.Stream
	shown  []byte
	resize *schema.Detail
}

// liveResponse is the response to a viewer of a session. Its times are those of arrival here, since
// the clocks of the gateway and of this machine may differ.
type liveResponse struct {
	cast *replay.Asciicast
	op   *schema.Operation
	// past is the output before the viewer came, and size its length. It is sent once it is
	// complete.
	past []moment
	size int
	live bool // past was sent
	line []byte

	mu  sync.Mutex // guards the fields below
	w   http.ResponseWriter
	out *http.ResponseController
}

// add sends a moment, or appends it to past while past is not complete.
func (l *liveResponse) add(m moment) error {
	if !l.live {
		l.past = append(l.past, m)
		l.size += len(m.shown)
		for l.size > maxPast {
			first := l.past[0]
			if d := first.resize; d != nil {
				l.op.Width, l.op.Height = d.Width, d.Height
			}
			l.size -= len(first.shown)
			l.past = l.past[1:]
		}
		return nil
	}
	return l.write(m, time.Now())
}

// caughtUp is called when all existing output was added.
func (l *liveResponse) caughtUp() error {
	if !l.live {
		return l.begin()
	}
	return l.flush()
}

// begin sends past.
func (l *liveResponse) begin() error {
	at := time.Now()
	width, height := l.cast.Size()
	if err := l.send(fmt.Sprintf(`data: {"cols":%d,"rows":%d,"time":%.6f}`, width, height, l.cast.Seconds(at.UnixNano()))); err != nil {
		return err
	}
	for _, m := range l.past {
		if err := l.write(m, at); err != nil {
			return err
		}
	}
	l.past, l.live = nil, true
	return l.flush()
}

func (l *liveResponse) write(m moment, at time.Time) error {
	l.line = append(l.line[:0], "data: "...)
	before := len(l.line)
	if m.resize != nil {
		l.line = l.cast.AppendResize(l.line, at.UnixNano(), m.resize)
	} else {
		l.line = l.cast.AppendOutput(l.line, at.UnixNano(), m.stream, m.shown)
	}
	if len(l.line) == before {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(append(l.line, '\n')) // the line has a newline; the empty line ends the event
	return err
}

func (l *liveResponse) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Flush()
}

// send writes the lines of an event and flushes them.
func (l *liveResponse) send(lines string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write([]byte(lines + "\n\n")); err != nil {
		return err
	}
	return l.out.Flush()
}

// keepAlive sends comments that keep the connection alive, until ctx is done.
func (l *liveResponse) keepAlive(ctx context.Context) {
	tick := time.NewTicker(keepAliveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if l.send(": here") != nil { // the next write fails too
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// end reports the end of the session.
func (l *liveResponse) end() error {
	if !l.live {
		if err := l.begin(); err != nil {
			return err
		}
	}
	return l.send("event: done\ndata: {}")
}
