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

// live is sessions that run, each with the manager and the capture of a gateway. What they run is
// no shell but a program that shows a few lines at a time, at an even pace, as `tail -f` does of a
// log.
type live struct {
	sessions int
	lines    atomic.Int64 // shown by all
	over     chan struct{}
	work     errgroup.Group
}

// errSessionLost is the error of sessions that ended by themselves.
var errSessionLost = errors.New("a session ended that should have gone on")

// bannerLines are what a session shows by itself at its beginning.
const bannerLines = 3

// startLive starts sessions that show so many lines a second together, each some at once.
func (f *flowing) startLive(ctx context.Context, sessions int, rate float64, burst int) (*live, error) {
	l := &live{sessions: sessions, over: make(chan struct{})}
	every := time.Duration(float64(sessions*burst) / rate * float64(time.Second))
	store := busstore.New(f.bus, nil)
	m := session.NewManager(session.Options{
		Gateway: "bench", Host: "gateway-1", Store: store, Publisher: store, Slots: store, Metrics: f.sessions, Log: f.log.With(slog.String("part", "session")),
		// A stack for each: that 200 people begin at the same moment on one is not what is measured.
		App: func(name string) (session.App, bool) {
			return session.App{Name: name, ID: "1234", Stack: name, Service: "web", Runtime: "paced", Duration: time.Hour, Sessions: 1, Plan: "scale"}, true
		},
		Subject:  store.Subject,
		Document: f.document,
		Runtimes: map[string]session.Runtime{"paced": pacedRuntime{l, every, burst, f.setup.Seed}},
	})
	var started sync.WaitGroup
	for i := range sessions {
		started.Add(1)
		client := session.IO{Stdin: endless{l.over}, Stdout: &firstWrite{done: started.Done}, Stderr: io.Discard}
		l.work.Go(func() error {
			exit, err := m.Run(ctx, session.Request{
				App: fmt.Sprintf("live-%d", i), User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
				Terminal: &session.Terminal{Name: "xterm-256color", Size: session.Size{Width: 120, Height: 40}},
			}, client)
			client.Stdout.(*firstWrite).Write(nil) // where it never came that far
			if err == nil && exit.Reason != session.ReasonExit {
				err = fmt.Errorf("%w: %s", errSessionLost, exit.Reason)
			}
			return err
		})
	}
	started.Wait()
	return l, nil
}

// stop ends the sessions, and says how many records they have become: each line, and each session's
// start and end.
func (l *live) stop() (records int, err error) {
	close(l.over)
	err = l.work.Wait()
	return int(l.lines.Load()) + (bannerLines+2)*l.sessions, err
}

// firstWrite tells of the first write to it.
type firstWrite struct {
	once sync.Once
	done func()
}

func (w *firstWrite) Write(b []byte) (int, error) {
	w.once.Do(w.done)
	return len(b), nil
}

// endless is input that never comes.
type endless struct{ over <-chan struct{} }

func (e endless) Read([]byte) (int, error) {
	<-e.over
	return 0, io.EOF
}

// pacedRuntime has sessions show lines, each at its moment.
type pacedRuntime struct {
	live  *live
	every time.Duration // of each session
	burst int           // lines at once
	seed  uint64
}

func (r pacedRuntime) Start(ctx context.Context, spec session.Spec) (session.Process, error) {
	p := &pacedProcess{ended: make(chan struct{})}
	p.out, p.in = io.Pipe()
	var number uint64
	fmt.Sscanf(strings.TrimPrefix(spec.App, "live-"), "%d", &number)
	go p.show(r, number) // ends when the live sessions are over, or the process is killed
	return p, nil
}

// A pacedProcess is no process but a goroutine that shows lines.
type pacedProcess struct {
	out   *io.PipeReader
	in    *io.PipeWriter
	ended chan struct{} // closed when it shows nothing more
}

func (p *pacedProcess) show(r pacedRuntime, number uint64) {
	defer close(p.ended)
	defer p.in.Close()
	source := corpus.NewLineSource(r.seed + 1<<32 + number)
	// The sessions' moments are spread over the time between two lines.
	next := time.Now().Add(source.Within(r.every))
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	var shown []byte
	for {
		select {
		case <-timer.C:
		case <-r.live.over:
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
		next = next.Add(r.every) // a session that was held back catches up
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
