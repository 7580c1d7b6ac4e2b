package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ttydrain/ttydrain/schema"
)

// A stage is a gateway's environment in memory: store, stream, runtime and client.
type stage struct {
	t    *testing.T
	tape *tape
	app  App
	req  Request

	createErr, saveErr error
	sessionsErrs       []error // of the next calls of Sessions
	startErr           error
	// program is the behavior of the command; it is killed when p.killed is closed.
	program func(p *program) Exit

	stdin    io.Reader
	out, err *screen
	resize   chan Size
	signals  chan string
	closed   chan struct{} // closed when the client accepts no more output

	mu       sync.Mutex
	created  []schema.Operation // guarded by mu
	saved    []schema.Session   // guarded by mu
	programs []*program         // guarded by mu
	forgot   []string           // guarded by mu: the removed requests to end a session

	metrics *Metrics
	slots   *slotTable
	kills   chan schema.Kill
	saves   func(*schema.Session) // if not nil, is called with the saved state
}

func newStage(t *testing.T) *stage {
	s := &stage{
		t: t, tape: newTape(t, ackAll),
		app: App{Name: "web", ID: "a-1", Stack: "default", Service: "web-cmd", Runtime: "memory", Command: []string{"/bin/sh"},
			Env: []string{"RAILS_ENV=production"}, Root: "/srv", Memory: 1 << 30, Duration: time.Hour, PHI: true, Sessions: 2, Plan: "growth", Drains: []string{"siem", "audit"}},
		req: Request{App: "web", User: schema.User{ID: "u-1", Name: "Ada", Email: "ada@example.com"},
			Terminal: &Terminal{Name: "xterm", Size: Size{Width: 80, Height: 24}}},
		program: func(*program) Exit { return Exit{} },
		stdin:   strings.NewReader(""),
		resize:  make(chan Size), signals: make(chan string), closed: make(chan struct{}),
		metrics: NewMetrics(prometheus.NewRegistry()), slots: newSlotTable(t), kills: make(chan schema.Kill),
	}
	s.out, s.err = &screen{tape: s.tape}, &screen{tape: s.tape, stream: schema.Stderr}
	return s
}

func (s *stage) CreateOperation(_ context.Context, op *schema.Operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.createErr != nil {
		return s.createErr
	}
	s.created = append(s.created, *op)
	op.ID = "7"
	return nil
}

func (s *stage) SaveSession(_ context.Context, state *schema.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saveErr != nil {
		return s.saveErr
	}
	if s.saves != nil {
		s.saves(state)
	}
	s.saved = append(s.saved, *state)
	return nil
}

func (s *stage) Sessions(context.Context) ([]schema.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessionsErrs) == 0 {
		return nil, nil
	}
	err := s.sessionsErrs[0]
	s.sessionsErrs = s.sessionsErrs[1:]
	return nil, err
}

func (s *stage) WatchKills(ctx context.Context, wanted func(schema.Kill)) error {
	for {
		select {
		case k := <-s.kills:
			wanted(k)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *stage) ForgetKill(_ context.Context, operation string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = append(s.forgot, operation)
	return nil
}

func (s *stage) LastChunks(ctx context.Context, subject string, each func(uint64, []byte) error) error {
	return s.tape.LastChunks(ctx, subject, each)
}

// A program is a scripted process.
type program struct {
	spec           Spec
	stdin          *io.PipeReader // the client's input
	stdout, stderr *io.PipeWriter // stderr is nil with a terminal
	killed         chan struct{}  // closed by Kill

	in       *io.PipeWriter
	out, err *io.PipeReader
	exit     chan Exit
	kill     sync.Once

	mu      sync.Mutex
	resized []Size   // guarded by mu
	signals []string // guarded by mu
}

func (s *stage) Start(ctx context.Context, spec Spec) (Process, error) {
	if s.startErr != nil {
		return nil, s.startErr
	}
	p := &program{spec: spec, killed: make(chan struct{}), exit: make(chan Exit, 1)}
	p.stdin, p.in = io.Pipe()
	p.out, p.stdout = io.Pipe()
	if spec.Terminal == nil {
		p.err, p.stderr = io.Pipe()
	}
	s.mu.Lock()
	s.programs = append(s.programs, p)
	s.mu.Unlock()
	go func() { // ends with the program, which a kill ends
		exit := s.program(p)
		select {
		case <-p.killed:
			exit = Exit{Status: 137, Signal: "KILL"}
		default:
		}
		p.stdin.Close()
		p.stdout.Close()
		if p.stderr != nil {
			p.stderr.Close()
		}
		p.exit <- exit
	}()
	return p, nil
}

func (p *program) Stdin() io.WriteCloser { return p.in }
func (p *program) Stdout() io.Reader     { return p.out }
func (p *program) Stderr() io.Reader {
	if p.err == nil {
		return nil
	}
	return p.err
}
func (p *program) Resize(size Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if size.Width == 0 {
		return errors.New("refused by the test")
	}
	p.resized = append(p.resized, size)
	return nil
}
func (p *program) CloseOutput() error { return p.stdout.Close() }
func (p *program) Signal(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, name)
	if name == "NONE" {
		return errors.New("refused by the test")
	}
	return nil
}
func (p *program) Wait() (Exit, error) { return <-p.exit, nil }

// Kill ends the program, which may be writing or reading.
func (p *program) Kill() {
	p.kill.Do(func() {
		close(p.killed)
		p.stdout.Close()
		if p.stderr != nil {
			p.stderr.Close()
		}
		p.stdin.Close()
	})
}

func (s *stage) manager() *Manager {
	return NewManager(Options{
		Gateway: "g-1", Host: "host-1",
		App:      func(name string) (App, bool) { return s.app, name == s.app.Name },
		Runtimes: map[string]Runtime{"memory": s},
		Store:    s, Publisher: s.tape, Slots: s.slots,
		Subject:  func(*schema.Operation) string { return "tty.test" },
		Document: func(u schema.User) (string, error) { return "document of " + u.ID, nil },
		Metrics:  s.metrics,
		Log:      slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	})
}

func (s *stage) run(ctx context.Context) (Exit, error) {
	return s.manager().Run(ctx, s.req, IO{Stdin: s.stdin, Stdout: s.out, Stderr: s.err, Resize: s.resize, Signals: s.signals, OutputClosed: s.closed})
}

// an ending is the record of a session.
type ending struct {
	start  schema.Operation
	kinds  string
	end    schema.Detail
	state  schema.Session
	stdout string
	stderr string
}

// ending checks the invariants of every ended session, and returns its record.
func (s *stage) ending() (e ending) {
	s.t.Helper()
	frames := s.tape.check()
	e.kinds = kinds(frames)
	if len(frames) < 2 || frames[0].Kind != schema.FrameStart || frames[len(frames)-1].Kind != schema.FrameEnd {
		s.t.Fatalf("frames %s", e.kinds)
	}
	if err := json.Unmarshal(frames[0].Payload, &e.start); err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(frames[len(frames)-1].Payload, &e.end); err != nil {
		s.t.Fatal(err)
	}
	e.stdout, e.stderr = string(s.tape.recorded(schema.Stdout)), string(s.tape.recorded(schema.Stderr))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved) != 2 || !s.saved[0].Ended.IsZero() || s.saved[1].Ended.IsZero() {
		s.t.Fatalf("saved %+v", s.saved)
	}
	e.state = s.saved[1]
	if st := e.state; st.Operation.ID != "7" || st.Gateway != "g-1" || st.Reason != e.end.Reason || st.ExitStatus == nil || e.end.ExitStatus == nil ||
		*st.ExitStatus != *e.end.ExitStatus || st.Bytes != uint64(len(e.stdout)+len(e.stderr)) {
		s.t.Errorf("the session is saved as %+v, its end is recorded as %+v, %d bytes", st, e.end, len(e.stdout)+len(e.stderr))
	}
	for what, got := range map[string]float64{
		"started": s.counted(s.metrics.started) - 1, "ended for that reason": s.counted(s.metrics.ended.WithLabelValues(e.end.Reason)) - 1,
		"running": s.counted(s.metrics.running), "bytes": s.counted(s.metrics.bytes) - float64(e.state.Bytes),
	} {
		if got != 0 {
			s.t.Errorf("the metrics are %g off in: %s", got, what)
		}
	}
	return e
}

// counted returns the value of a metric.
func (s *stage) counted(m prometheus.Metric) float64 {
	s.t.Helper()
	var value dto.Metric
	if err := m.Write(&value); err != nil {
		s.t.Fatal(err)
	}
	return value.GetCounter().GetValue() + value.GetGauge().GetValue()
}

// until returns a program that runs until it is killed.
func until(p *program) Exit {
	<-p.killed
	return Exit{}
}

// chatty returns a program that writes output every minute until it is killed.
func chatty(p *program) Exit {
	for {
		select {
		case <-p.killed:
			return Exit{}
		case <-time.After(time.Minute):
			io.WriteString(p.stdout, "tick\r\n")
		}
	}
}
