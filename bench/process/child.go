package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// childVariable is the environment variable with the role of a child process.
const childVariable = "TTYDRAIN_BENCH_CHILD"

// A Role is the main function of a child process. It reads questions from in and writes an answer
// to each to out, and returns io.EOF when its parent has closed its input or has ended.
type Role func(in *json.Decoder, out *json.Encoder) error

// Main runs the role that this process was started for and returns true. It returns false in the
// benchmark's main process.
func Main(roles map[string]Role) bool {
	name := os.Getenv(childVariable)
	if name == "" {
		return false
	}
	run := roles[name]
	if run == nil {
		run = func(*json.Decoder, *json.Encoder) error { return errors.New("the program has no such role") }
	}
	if err := run(json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintf(os.Stderr, "bench, %s: %v\n", name, err)
		os.Exit(1)
	}
	return true
}

// Environment returns the environment variable that makes a run of this program a child.
func Environment(role string) string { return childVariable + "=" + role }

// A Child is a process of the benchmark itself in a role. Its methods are for one goroutine at a
// time, except for Kill.
type Child struct {
	role  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	in    *json.Encoder
	out   *json.Decoder
}

// StartChild starts a process in a role and sends it its setup. It decodes the answer, which the
// process sends when it is ready, into ready. The process is killed when ctx is done.
func StartChild(ctx context.Context, role string, setup, ready any) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &Child{role: role, cmd: exec.CommandContext(ctx, self)}
	c.cmd.Env = append(os.Environ(), Environment(role))
	c.cmd.Stderr = os.Stderr
	// Ctrl-C in a terminal goes to the whole group: only the parent stops its children.
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
	if err := c.Ask(setup, ready); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Ask sends a question and waits for the answer.
func (c *Child) Ask(question, answer any) error {
	if err := c.Send(question); err != nil {
		return err
	}
	return c.Receive(answer)
}

// Send sends a question, whose answer Receive returns.
func (c *Child) Send(question any) error {
	if err := c.in.Encode(question); err != nil {
		return fmt.Errorf("ask the %s, which has ended: %w", c.role, err)
	}
	return nil
}

// Receive waits for the answer to the question that was sent.
func (c *Child) Receive(answer any) error {
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("read the answer of the %s, which has ended: %w", c.role, err)
	}
	return nil
}

// Kill kills the process. Close waits for it.
func (c *Child) Kill() { c.cmd.Process.Kill() }

// Close closes the input of the process, which ends it, and waits for it.
func (c *Child) Close() error {
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the %s: %w", c.role, err)
	}
	return nil
}
