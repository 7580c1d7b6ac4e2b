package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Shells runs sessions as local shells, without a store, instead of a session.Manager. It writes
// notices and the shutdown to standard error, and refuses the command "refuse".
type Shells struct {
	// Requests delivers each session's request when its program starts.
	Requests chan session.Request
	// Causes delivers the causes for which sessions' contexts were cancelled.
	Causes chan error
}

// NewShells returns Shells for up to 64 sessions whose requests and causes are not received.
func NewShells() *Shells {
	return &Shells{Requests: make(chan session.Request, 64), Causes: make(chan error, 64)}
}

// Run runs a session. Its signals go to all of its processes.
func (s *Shells) Run(ctx context.Context, req session.Request, client session.IO) (session.Exit, error) {
	for _, line := range req.Notices {
		fmt.Fprintf(client.Stderr, "notice: %s\r\n", line)
	}
	if req.Command == "refuse" {
		return session.Exit{}, &session.Refusal{Message: "no session for you"}
	}
	cmd := exec.Command("/bin/sh")
	if req.Command != "" {
		cmd.Args = append(cmd.Args, "-c", req.Command)
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PS1=$ "}, req.Env...)

	var outputs sync.WaitGroup // end with the program and all of its children
	var terminal *os.File
	if t := req.Terminal; t != nil {
		cmd.Env = append(cmd.Env, "TERM="+t.Name)
		f, err := pty.StartWithSize(cmd, winsize(t.Size))
		if err != nil {
			return session.Exit{}, err
		}
		defer f.Close()
		terminal = f
		go io.Copy(f, client.Stdin) // ends with the client
		outputs.Go(func() { io.Copy(client.Stdout, f) })
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return session.Exit{}, err
		}
		cmd.Stdout, cmd.Stderr = client.Stdout, client.Stderr
		if err := cmd.Start(); err != nil {
			return session.Exit{}, err
		}
		go func() { // ends with the client
			io.Copy(stdin, client.Stdin)
			stdin.Close()
		}()
	}
	s.Requests <- req

	ended := make(chan struct{})
	var control sync.WaitGroup
	control.Go(func() { // ends with the program
		for {
			select {
			case size := <-client.Resize:
				pty.Setsize(terminal, winsize(size))
			case name := <-client.Signals:
				syscall.Kill(-cmd.Process.Pid, unix.SignalNum("SIG"+name))
			case <-ctx.Done():
				s.Causes <- context.Cause(ctx)
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				return
			case <-ended:
				return
			}
		}
	})
	state, err := cmd.Process.Wait()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its background processes keep its output open
	cmd.Wait()                                      // its error is in the state
	outputs.Wait()
	close(ended)
	control.Wait()
	if errors.Is(context.Cause(ctx), session.ErrShutdown) {
		fmt.Fprint(client.Stderr, "notice: this gateway stops\r\n")
		return session.Exit{Status: 75, Reason: session.ReasonShutdown}, nil
	}
	if err != nil {
		return session.Exit{}, err
	}
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
		return session.Exit{Status: 128 + int(status.Signal()), Signal: name, CoreDumped: status.CoreDump()}, nil
	}
	return session.Exit{Status: status.ExitStatus(), Reason: session.ReasonExit}, nil
}

func winsize(s session.Size) *pty.Winsize {
	return &pty.Winsize{Rows: uint16(s.Height), Cols: uint16(s.Width), X: uint16(s.PixelWidth), Y: uint16(s.PixelHeight)}
}
