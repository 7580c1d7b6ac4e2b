package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// A Server is a measured program, with all processes that it starts.
type Server struct {
	cmd  *exec.Cmd
	log  string        // file of its standard output and error
	Done chan struct{} // closed when the program has ended
}

// StartServer starts a program whose output goes to the file log. It is terminated (SIGTERM) by
// Stop or when ctx is done.
func StartServer(ctx context.Context, log string, path string, args ...string) (*Server, error) {
	return StartServerWith(ctx, nil, log, path, args...)
}

// StartServerWith is like StartServer, with an environment; nil is that of this process.
func StartServerWith(ctx context.Context, env []string, log string, path string, args ...string) (*Server, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the program has its own
	s := &Server{cmd: exec.CommandContext(ctx, path, args...), log: log, Done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = f, f, env
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 20 * time.Second
	// In a process group of its own, so that Ctrl-C reaches only the benchmark, which stops the
	// server. The server does not outlive the benchmark, even if that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	go func() { // ends with the program
		defer close(s.Done)
		s.cmd.Wait()
	}()
	return s, nil
}

// PID returns the ID of the program's first process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop terminates the program and waits until it has ended.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	select {
	case <-s.Done:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.Done
	}
}

// Await calls ready until it returns nil. It returns an error when the program ends, after 30
// seconds, or when ctx is done.
func (s *Server) Await(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
			continue
		case <-s.Done:
			err = errors.New("it has ended")
		case <-ctx.Done():
		}
		return fmt.Errorf("%s is not ready: %w; its output:\n%s", filepath.Base(s.cmd.Path), err, s.Output())
	}
}

// Output returns the end of the program's output.
func (s *Server) Output() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Settled waits until the program and all processes that it started are idle, and returns the CPU
// time that they have used since the program's start.
func (s *Server) Settled(ctx context.Context) (time.Duration, error) {
	const still = 300 * time.Millisecond
	before, err := TreeCPUTime(s.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(still)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		now, err := TreeCPUTime(s.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		if now-before <= still/20 {
			return now, nil
		}
		before = now
	}
}

// CheckReady returns an error unless url answers 200.
func CheckReady(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}

// FreeAddress returns a loopback address that is reserved for a server until ctx is done.
func FreeAddress(ctx context.Context) (string, error) {
	address, release, err := porttest.Hold()
	if err == nil {
		context.AfterFunc(ctx, release)
	}
	return address, err
}

// StartTTYDrain writes a configuration into dir, runs `ttydrain serve` with it and more arguments,
// and waits until its admin address reports that it is ready.
func StartTTYDrain(ctx context.Context, binary, dir, admin, config string, args ...string) (*Server, error) {
	file := filepath.Join(dir, "ttydrain.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s, err := StartServer(ctx, filepath.Join(dir, "log"), binary, append([]string{"serve", "-c", file}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := s.Await(ctx, func() error { return CheckReady("http://" + admin + "/readyz") }); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}
