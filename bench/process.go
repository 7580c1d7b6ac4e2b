package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc (USER_HZ), which is the same on all of Linux's
// common architectures.
const ticksPerSecond = 100

// A server is a program of its own that is measured, with everything that it starts.
type server struct {
	cmd  *exec.Cmd
	log  string        // file of its standard output and error
	done chan struct{} // closed when it has ended
}

// startServer starts a program that writes its output to a file. It is asked to end (SIGTERM) when
// ctx is done, and at the latest by stop.
func startServer(ctx context.Context, log string, path string, args ...string) (*server, error) {
	return startServerWith(ctx, nil, log, path, args...)
}

// startServerWith does so with an environment, where it is not nil.
func startServerWith(ctx context.Context, env []string, log string, path string, args ...string) (*server, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the program has its own
	s := &server{cmd: exec.CommandContext(ctx, path, args...), log: log, done: make(chan struct{})}
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
		defer close(s.done)
		s.cmd.Wait()
	}()
	return s, nil
}

// stop asks the program to end, and waits for it.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// await asks until ready says nil, and gives up when the program ends, or ctx does.
func (s *server) await(ctx context.Context, ready func() error) error {
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
		case <-s.done:
			err = errors.New("it has ended")
		case <-ctx.Done():
		}
		return fmt.Errorf("%s is not ready: %w; its output:\n%s", filepath.Base(s.cmd.Path), err, s.output())
	}
}

// output is the end of what the program wrote.
func (s *server) output() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// settled waits until the program and all that it started have nothing to do any more, and gives
// the processor time that they have used since the program's start.
func (s *server) settled(ctx context.Context) (time.Duration, error) {
	const still = 300 * time.Millisecond
	before, err := processTreeTime(s.cmd.Process.Pid)
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
		now, err := processTreeTime(s.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		if now-before <= still/20 {
			return now, nil
		}
		before = now
	}
}

// processTreeTime is the processor time of a process, of its descendants, and of those of them that
// have ended and were waited for.
func processTreeTime(root int) (time.Duration, error) {
	tree, err := processTree(root)
	var total int64
	for _, ticks := range tree {
		total += ticks
	}
	return time.Duration(total) * time.Second / ticksPerSecond, err
}

// processTree is the processor time in ticks, by process, of a process and its descendants that
// run. Each one's has that of its children that have ended and were waited for.
func processTree(root int) (tree map[int]int64, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	ticks := make(map[int]int64)
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (name) state ppid …: the name can have spaces and parentheses (proc(5)).
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		_, rest, ok := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 15 {
			return nil, fmt.Errorf("%s has not the form that is expected", file)
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			ticks[pid] += n
		}
	}
	if _, ok := ticks[root]; !ok {
		return nil, errors.New("the measured program has ended")
	}
	tree = make(map[int]int64)
	for left := []int{root}; len(left) > 0; {
		pid := left[len(left)-1]
		left = append(left[:len(left)-1], children[pid]...)
		tree[pid] = ticks[pid]
	}
	return tree, nil
}

// processTreePeak is the sum of the most memory, in bytes, that a process and each of its
// descendants that run have had resident.
func processTreePeak(root int) (total int64, err error) {
	tree, err := processTree(root)
	if err != nil {
		return 0, err
	}
	for pid := range tree {
		now, err := memoryOf(pid)
		if err != nil {
			return 0, err
		}
		total += now.Peak
	}
	return total, nil
}
