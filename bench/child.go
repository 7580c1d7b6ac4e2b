package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// childVariable makes a run of this program one of the benchmark's processes in place of the whole
// of it.
const childVariable = "TTYDRAIN_BENCH_CHILD"

// childMain is what such a process does. It is false for the benchmark itself.
//
// A child reads questions from standard input and answers each on standard output. It ends when its
// parent has closed its input, or has ended.
func childMain() bool {
	var run func(*json.Decoder, *json.Encoder) error
	switch os.Getenv(childVariable) {
	case "":
		return false
	case "receiver":
		run = receiverMain
	case "pipeline":
		run = pipelineMain
	case "witness":
		run = witnessMain
	case "flow":
		run = flowMain
	case "limit":
		run = limitMain
	case "lines":
		run = linesMain
	case "recording":
		run = func(*json.Decoder, *json.Encoder) error { return recordingMain() }
	default:
		run = func(*json.Decoder, *json.Encoder) error { return errors.New("no such part of the benchmark") }
	}
	if err := run(json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintf(os.Stderr, "bench, %s: %v\n", os.Getenv(childVariable), err)
		os.Exit(1)
	}
	return true
}

// A child is a process of the benchmark's own.
type child struct {
	role  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	in    *json.Encoder
	out   *json.Decoder
}

// startChild starts a process in a role and gives it its setup, whose answer goes into ready. The
// process is killed when ctx is done.
func startChild(ctx context.Context, role string, setup, ready any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &child{role: role, cmd: exec.CommandContext(ctx, self)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+role)
	c.cmd.Stderr = os.Stderr
	// Ctrl-C in a terminal goes to the whole group: the parent is the one that ends its children.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = json.NewEncoder(c.stdin), json.NewDecoder(stdout)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", role, err)
	}
	if err := c.ask(setup, ready); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// ask sends a question and waits for the answer.
func (c *child) ask(question, answer any) error {
	if err := c.in.Encode(question); err != nil {
		return fmt.Errorf("the %s has ended: %w", c.role, err)
	}
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("the %s has ended: %w", c.role, err)
	}
	return nil
}

// close ends the process.
func (c *child) close() error {
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the %s: %w", c.role, err)
	}
	return nil
}

// processorTime is what this process has used so far, of user and system together.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
