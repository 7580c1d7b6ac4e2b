package growth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/busstore"
	"github.com/ttydrain/ttydrain/schema"
)

// live has running sessions, with the session manager and the capture of a gateway. They run a
// program that shows a few lines at a time, at an even pace, as `tail -f` does of a log.
type live struct {
	sessions int
	lines    atomic.Int64  // shown by all sessions
	stopping chan struct{} // closed by stop
	work     errgroup.Group
}

// errSessionLost reports a session that ended by itself.
var errSessionLost = errors.New("a session ended before it was stopped")

// bannerLines is the number of lines that a session itself shows at its start.
const bannerLines = 3

// startLive starts sessions that together show rate lines a second, each of them burst lines at
// once.
func (f *flowProcess) startLive(ctx context.Context, sessions int, rate float64, burst int) (*live, error) {
	l := &live{sessions: sessions, stopping: make(chan struct{})}
	every := time.Duration(float64(sessions*burst) / rate * float64(time.Second))
	store := busstore.New(f.bus, nil)
	m := session.NewManager(session.Options{
		Gateway: "bench", Host: "gateway-1", Store: store, Publisher: store, Slots: store, Metrics: f.sessions, Log: f.log.With(slog.String("part", "session")),
		// Each has a stack of its own, because 200 users starting on one stack at the same moment are not
		// measured.
		App: func(name string) (session.App, bool) {
			return session.App{Name: name, ID: "1234", Stack: name, Service: "web", Runtime: "paced", Duration: time.Hour, Sessions: 1, Plan: "scale"}, true
		},
		Subject:  store.Subject,
		Document: f.documents,
		Runtimes: map[string]session.Runtime{"paced": pacedRuntime{l, every, burst, f.setup.Seed}},
	})
	var started sync.WaitGroup
	for i := range sessions {
		started.Add(1)
		client := session.IO{Stdin: endless{l.stopping}, Stdout: &firstWrite{done: started.Done}, Stderr: io.Discard}
		l.work.Go(func() error {
			exit, err := m.Run(ctx, session.Request{
				App: fmt.Sprintf("live-%d", i), User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
				Terminal: &session.Terminal{Name: "xterm-256color", Size: session.Size{Width: 120, Height: 40}},
			}, client)
			client.Stdout.(*firstWrite).Write(nil) // in case the session failed before its first output
			if err == nil && exit.Reason != session.ReasonExit {
				err = fmt.Errorf("%w: %s", errSessionLost, exit.Reason)
			}
			return err
		})
	}
	started.Wait()
	return l, nil
}

// stop ends the sessions and returns the number of their records: one for each line, and one each
// for the start and the end of a session.
func (l *live) stop() (records int, err error) {
	close(l.stopping)
	err = l.work.Wait()
	return int(l.lines.Load()) + (bannerLines+2)*l.sessions, err
}

// firstWrite calls done at the first write to it.
type firstWrite struct {
	once sync.Once
	done func()
}

func (w *firstWrite) Write(b []byte) (int, error) {
	w.once.Do(w.done)
	return len(b), nil
}

// endless is an input without data, which ends when the sessions are stopped.
type endless struct{ stopping <-chan struct{} }

func (e endless) Read([]byte) (int, error) {
	<-e.stopping
	return 0, io.EOF
}

// pacedRuntime is a runtime whose processes show lines at an even pace.
type pacedRuntime struct {
	live  *live
	every time.Duration // interval of a session
	burst int           // lines at once
	seed  uint64
}

func (r pacedRuntime) Start(ctx context.Context, spec session.Spec) (session.Process, error) {
	p := &pacedProcess{ended: make(chan struct{})}
	p.out, p.in = io.Pipe()
	var number uint64
	fmt.Sscanf(strings.TrimPrefix(spec.App, "live-"), "%d", &number)
	go p.show(r, number) // ends when the live sessions are stopped, or the process is killed
	return p, nil
}

// A pacedProcess is a goroutine that shows lines like a process.
type pacedProcess struct {
	out   *io.PipeReader
	in    *io.PipeWriter
	ended chan struct{} // closed when it has shown its last line
}

func (p *pacedProcess) show(r pacedRuntime, number uint64) {
	defer close(p.ended)
	defer p.in.Close()
	source := corpus.NewLineSource(r.seed + 1<<32 + number)
	// The sessions start at random times within one interval.
	next := time.Now().Add(source.Within(r.every))
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	var shown []byte
	for {
		select {
		case <-timer.C:
		case <-r.live.stopping:
			return
		}
		shown = shown[:0]
		for range r.burst {
			shown = append(shown, source.Next()...)
		}
		if _, err := p.in.Write(shown); err != nil {
			return // it was killed
		}
		r.live.lines.Add(int64(r.burst))
		next = next.Add(r.every) // a delayed session catches up
		timer.Reset(time.Until(next))
	}
}

func (p *pacedProcess) Stdin() io.WriteCloser { return discard{} }

func (p *pacedProcess) Stdout() io.Reader { return p.out }

func (p *pacedProcess) Stderr() io.Reader { return nil }

func (p *pacedProcess) Resize(session.Size) error { return nil }

func (p *pacedProcess) Signal(string) error { return nil }

func (p *pacedProcess) CloseOutput() error { return p.out.Close() }

func (p *pacedProcess) Wait() (session.Exit, error) {
	<-p.ended
	return session.Exit{}, nil
}

func (p *pacedProcess) Kill() { p.in.CloseWithError(io.EOF) }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func (discard) Close() error { return nil }
