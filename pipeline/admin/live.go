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
	// maxPast is how much of what a session showed before somebody came to watch it they get, in
	// bytes: the last of it.
	maxPast = 2 << 20
	// liveEvery is how often who watches is told that the connection is there: proxies cut quiet ones.
	liveEvery = 15 * time.Second
)

// live answers with what a session has shown, at once, and then with what it shows, as it does, as
// events (text/event-stream of the HTML standard) that asciinema-player understands: an object with
// "cols", "rows" and "time" begins, and the arrays are asciicast's. The event "done" says that the
// session has ended.
//
// Where this process does not read TTY, it is LOGS that is followed: a line is there when it is
// whole, or ten seconds old.
func (a *api) live(ctx context.Context, w http.ResponseWriter, _ *http.Request, s *operate.SessionStatus) error {
	if s.State == operate.SessionEnded {
		return refusal{fmt.Errorf("session %s has ended: replay it", s.Operation)}
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // of nginx: see its proxy_buffering
	op := &schema.Operation{ID: s.Operation, Interactive: s.Interactive}
	l := &liveAnswer{w: w, out: http.NewResponseController(w), op: op, cast: replay.NewAsciicast(op, s.Started.UnixNano())}
	if err := l.send(": here"); err != nil {
		return err
	}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keeping.Go(func() { l.keep(ctx) }) // ends with the answer
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
	}, l.caught)
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
		}, l.caught)
	}
	if err != nil {
		return err
	}
	return l.end()
}

// A moment is something that was shown, or another size of the terminal.
type moment struct {
	stream schema.Stream
	shown  []byte
	resize *schema.Detail
}

// A liveAnswer is to one who watches a session. The time of what they get is when it came here: the
// clocks of a gateway and of this machine may differ.
type liveAnswer struct {
	cast *replay.Asciicast
	op   *schema.Operation
	// past is what there was before they came, and size how much that is. It is sent when all of it is
	// there.
	past []moment
	size int
	now  bool // past was sent
	line []byte

	mu  sync.Mutex // guards what follows
	w   http.ResponseWriter
	out *http.ResponseController
}

// add sends a moment, or keeps it for as long as there are more of the past.
func (l *liveAnswer) add(m moment) error {
	if !l.now {
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

// caught is for when all that there is was added.
func (l *liveAnswer) caught() error {
	if !l.now {
		return l.begin()
	}
	return l.flush()
}

// begin sends the past.
func (l *liveAnswer) begin() error {
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
	l.past, l.now = nil, true
	return l.flush()
}

func (l *liveAnswer) write(m moment, at time.Time) error {
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
	_, err := l.w.Write(append(l.line, '\n')) // the event has its line end, and this is the one after it
	return err
}

func (l *liveAnswer) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Flush()
}

// send sends the lines of an event at once.
func (l *liveAnswer) send(lines string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write([]byte(lines + "\n\n")); err != nil {
		return err
	}
	return l.out.Flush()
}

// keep tells that the connection is there, until ctx is done.
func (l *liveAnswer) keep(ctx context.Context) {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if l.send(": here") != nil { // who writes next sees it, too
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// end says that the session has ended.
func (l *liveAnswer) end() error {
	if !l.now {
		if err := l.begin(); err != nil {
			return err
		}
	}
	return l.send("event: done\ndata: {}")
}
