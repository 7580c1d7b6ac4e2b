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

// A server is a program of its own that is measured, with everything that it starts.
type Server struct {
	cmd  *exec.Cmd
	log  string        // file of its standard output and error
	Done chan struct{} // closed when it has ended
}

// startServer starts a program that writes its output to a file. It is asked to end (SIGTERM) when
// ctx is done, and at the latest by stop.
func StartServer(ctx context.Context, log string, path string, args ...string) (*Server, error) {
	return StartServerWith(ctx, nil, log, path, args...)
}

// startServerWith does so with an environment, where it is not nil.
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
	// A process group of its own, so that Ctrl-C ends the benchmark and that ends the server; and it
	// does not outlive the benchmark, however that ends.
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

// pid returns the ID of the program's first process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// stop asks the program to end, and waits for it.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	select {
	case <-s.Done:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.Done
	}
}

// await asks until ready says nil, and gives up when the program ends, or ctx does.
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

// output is the end of what the program wrote.
func (s *Server) Output() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// settled waits until the program and all that it started have nothing to do any more, and gives
// the processor time that they have used since the program's start.
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

// freeAddress is an address of this machine's own that is kept for a server until ctx ends.
func FreeAddress(ctx context.Context) (string, error) {
	address, release, err := porttest.Hold()
	if err == nil {
		context.AfterFunc(ctx, release)
	}
	return address, err
}

// startTtydrain writes a configuration into dir, runs `ttydrain serve` with it and more arguments,
// and waits until it is ready, which it reports at its admin address.
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
