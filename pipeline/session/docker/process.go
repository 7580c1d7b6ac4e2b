package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// errLost is the cause of ending a session whose container can't be followed any more.
var errLost = errors.New("the connection to the Docker daemon was lost")

// errNotKilled is the cause of giving up a session whose container does not end.
var errNotKilled = errors.New("the Docker daemon does not say that the killed container has ended")

// process is a session's container.
type process struct {
	runtime *Runtime
	id      string
	tty     bool

	attached *client.HijackedResponse // set before follow
	spool    *spool                   // receives what read reads from attached

	ctx    context.Context // done when the container is no longer followed
	giveUp context.CancelCauseFunc

	killing  sync.Once
	killed   atomic.Bool
	streamed chan struct{} // closed at the end of the output
	done     chan struct{} // closed when the container has ended or was given up
	exit     session.Exit  // valid after done, like err
	err      error
}

var _ session.Process = (*process)(nil)

func newProcess(r *Runtime, id string, spec session.Spec) *process {
	p := &process{runtime: r, id: id, tty: spec.Terminal != nil, streamed: make(chan struct{}), done: make(chan struct{})}
	p.spool = newSpool(p.pause, func(err error) {
		r.log.Warn("container cannot be paused: its last output may be lost if the client is slow", "container", id, "error", err)
	})
	p.ctx, p.giveUp = context.WithCancelCause(r.ctx)
	return p
}

// abort gives up a container that was not started, or may not have been.
func (p *process) abort() {
	p.giveUp(errLost)
	if p.attached != nil {
		p.attached.Close()
	}
	p.runtime.discard(p.id)
}

// follow reads the output of the started container and waits for its end.
func (p *process) follow(waiting client.ContainerWaitResult) {
	go p.read() // ends with the connection, which await closes
	go p.await(waiting)
}

// read forwards the output until it ends.
func (p *process) read() {
	defer close(p.streamed)
	defer p.spool.close()
	var err error
	if p.tty {
		_, err = io.Copy(spoolWriter{p.spool, 0}, p.attached.Reader)
	} else {
		_, err = stdcopy.StdCopy(spoolWriter{p.spool, 0}, spoolWriter{p.spool, 1}, p.attached.Reader)
	}
	if err != nil && p.ctx.Err() == nil {
		p.runtime.log.Warn("output of session ended early", "container", p.id, "error", err)
		p.Kill()
	}
}

// await waits for the container's end and removes it. It ends with the container, or at the latest
// killTimeout after Kill.
func (p *process) await(waiting client.ContainerWaitResult) {
	defer close(p.done)
	status, err := p.status(waiting)
	// Output in transit arrives quickly, now that nothing holds it back.
	p.spool.drain(true)
	if err == nil {
		select {
		case <-p.streamed:
		case <-time.After(streamGrace):
			p.err = errors.New("the Docker daemon did not send the end of the session's output")
		}
	}
	p.attached.Close()
	<-p.streamed
	if err != nil {
		p.err = err
	}
	p.giveUp(errLost) // stop further calls for the container
	p.exit = session.Exit{Status: status}
	if p.killed.Load() && status == 128+int(unix.SIGKILL) || err != nil {
		p.exit = session.Exit{Status: 128 + int(unix.SIGKILL), Signal: "KILL"}
	}
	p.runtime.discard(p.id)
}

// status waits for the exit status. A proxy between this host and the daemon can break the waiting
// request: while output keeps arriving, that is no reason to give up.
func (p *process) status(waiting client.ContainerWaitResult) (int, error) {
	for {
		var err error
		select {
		case answer := <-waiting.Result:
			if answer.Error != nil && answer.Error.Message != "" {
				return 0, fmt.Errorf("waiting for container %s: %s", p.id, answer.Error.Message)
			}
			return int(answer.StatusCode), nil
		case err = <-waiting.Error:
		}
		if p.ctx.Err() != nil {
			return 0, context.Cause(p.ctx)
		}
		select {
		case <-p.streamed: // the daemon is gone, or was
			return 0, fmt.Errorf("%w: %w", errLost, err)
		case <-time.After(time.Second): // the end of the output may be noticed slightly later
		}
		waiting = p.runtime.client.ContainerWait(p.ctx, p.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	}
}

func (p *process) Stdin() io.WriteCloser { return stdin{p} }
func (p *process) Stdout() io.Reader     { return spoolReader{p.spool, 0} }

func (p *process) Stderr() io.Reader {
	if p.tty {
		return nil
	}
	return spoolReader{p.spool, 1}
}

// stdin writes to the container.
type stdin struct{ *process }

func (s stdin) Write(b []byte) (int, error) { return s.attached.Conn.Write(b) }

func (s stdin) Close() error {
	if s.tty {
		return nil
	}
	return s.attached.CloseWrite()
}

func (p *process) Resize(size session.Size) error {
	if !p.tty {
		return errors.New("changing the terminal's size: the session has no terminal")
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTimeout)
	defer cancel()
	_, err := p.runtime.client.ContainerResize(ctx, p.id, client.ContainerResizeOptions{Width: cells(size.Width), Height: cells(size.Height)})
	if err != nil && !p.over(err) {
		return fmt.Errorf("changing the terminal's size: %w", err)
	}
	return nil
}

// brokenPipeGrace is the time for which a command may keep writing after SIGPIPE before it is
// killed.
const brokenPipeGrace = time.Second

// CloseOutput discards standard output from now on. The pipe itself belongs to the daemon, which
// reads it to the end: so the command is sent SIGPIPE when output arrives, and killed if it ignores
// the signal. A terminal can't be hung up either: its command is sent SIGHUP.
func (p *process) CloseOutput() error {
	if p.tty {
		p.spool.discard(func() {})
		return p.Signal("HUP")
	}
	var first time.Time // when the command first wrote to the closed output; used by the daemon's single reader
	p.spool.discard(func() {
		switch {
		case first.IsZero():
			first = time.Now()
			go func() { // ends with the call to the daemon, at the latest after callTimeout
				if err := p.Signal("PIPE"); err != nil {
					p.runtime.log.Warn("ending session whose output is closed: SIGPIPE not sent", "container", p.id, "error", err)
					p.Kill()
				}
			}()
		case time.Since(first) > brokenPipeGrace:
			go p.Kill() // in a goroutine: it locks the spool, which the caller has locked
		}
	})
	return nil
}

// Signal sends a signal to the command.
func (p *process) Signal(name string) error {
	name = strings.TrimPrefix(name, "SIG")
	if unix.SignalNum("SIG"+name) == 0 {
		return fmt.Errorf("sending a signal: there is none called %q", name)
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTimeout)
	defer cancel()
	_, err := p.runtime.client.ContainerKill(ctx, p.id, client.ContainerKillOptions{Signal: "SIG" + name})
	if err != nil && !p.over(err) {
		return fmt.Errorf("sending signal %s: %w", name, err)
	}
	return nil
}

// over reports whether an error means that the container has ended, which can be ignored.
func (p *process) over(err error) bool {
	return p.ctx.Err() != nil || errdefs.IsNotFound(err) || errdefs.IsConflict(err) || strings.Contains(err.Error(), "is not running")
}

func (p *process) Kill() {
	p.killing.Do(func() {
		p.killed.Store(true)
		p.spool.drain(false) // also resumes a paused container
		timer := time.AfterFunc(killTimeout, func() { p.giveUp(errNotKilled) })
		go func() { // ends with the container, or with timer
			defer timer.Stop()
			for p.ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(p.ctx, killTimeout/4)
				_, err := p.runtime.client.ContainerKill(ctx, p.id, client.ContainerKillOptions{Signal: "SIGKILL"})
				cancel()
				if err == nil || p.over(err) {
					break
				}
				select {
				case <-time.After(killTimeout / 100):
				case <-p.ctx.Done():
				}
			}
			<-p.done
		}()
	})
}

func (p *process) Wait() (session.Exit, error) {
	<-p.done
	if p.err != nil {
		return p.exit, fmt.Errorf("waiting for container %s: %w", p.id, p.err)
	}
	return p.exit, nil
}

// pause pauses or resumes the container. ended reports that the container has ended or is ending,
// or already is in that state.
func (p *process) pause(still bool) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, callTimeout)
	defer cancel()
	if still {
		_, err = p.runtime.client.ContainerPause(ctx, p.id, client.ContainerPauseOptions{})
	} else {
		_, err = p.runtime.client.ContainerUnpause(ctx, p.id, client.ContainerUnpauseOptions{})
	}
	return err != nil && p.over(err), err
}
