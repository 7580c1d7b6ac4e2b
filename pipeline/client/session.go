package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Session describes what to run and its streams. All fields are optional.
type Session struct {
	// Command is a command line for the server's shell; "" runs the app's own command.
	Command string
	// Terminal requests a terminal; nil runs without one, with separate standard output and error.
	Terminal *Terminal
	// Env is the requested environment. The server silently ignores variables that it does not
	// accept.
	Env map[string]string
	// Stdin is the session's input, including its end; nil means empty input. See [Client.Run]
	// about reads that outlast the session.
	Stdin io.Reader
	// Stdout and Stderr receive the output; nil discards it. A blocking Write blocks the session.
	// With a terminal, Stdout receives all of the session's output, and Stderr only the gateway's
	// own messages. Each is written by its own goroutine, so both may be the same writer only if it
	// is safe for concurrent use.
	Stdout, Stderr io.Writer
	// Resize delivers changes of the terminal's size, and Signals names of signals (RFC 4254 §6.10,
	// without "SIG") for the session. Both may be nil and must not be closed.
	Resize  <-chan Size
	Signals <-chan string
}

// Terminal describes the session's terminal.
type Terminal struct {
	Name string // TERM
	Size Size   // zero if unknown
	// Modes are the encoded terminal modes of RFC 4254 §8; nil for the server's defaults.
	Modes []byte
}

// Size is a terminal's size in cells and in pixels; zero if unknown.
type Size struct{ Width, Height, PixelWidth, PixelHeight int }

var (
	// ErrRefused is wrapped by Run's error if the server refused to start the session. The server's
	// explanation has been written to Stderr.
	ErrRefused = errors.New("the gateway refused the session")
	// ErrOutput is wrapped by Run's error, together with the cause, if output could not be written.
	ErrOutput = errors.New("cannot write the session's output")
	// ErrLost is wrapped by Run's error if the session ended without an exit status.
	ErrLost = errors.New("the connection to the gateway was lost before the session ended")
)

// Run runs a session and returns its exit status, or 128 plus the signal's number if a signal ended
// it. The status is valid only if the error is nil.
//
// If ctx is done, Run closes the whole connection and returns an error that wraps the context's
// cause. It does the same if Stdin or an output fails.
//
// After Run has returned, the outputs are no longer written to; a Write that never returns
// therefore blocks Run. A Read of Stdin may still be in progress and its data is lost. Close Stdin
// to end it.
func (c *Client) Run(ctx context.Context, s Session) (status int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()

	ch, requests, err := c.ssh.OpenChannel("session", nil)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, fmt.Errorf("open a session: %w", err)
	}
	defer ch.Close() // no effect if it is already closed

	r := run{ch: ch, session: s, cancel: cancel, ended: make(chan struct{})}
	var outputs, others sync.WaitGroup
	others.Go(func() { r.handleRequests(requests) }) // ends with the channel
	// Read the output before the session starts, since it may contain the reason for a refusal.
	// Both goroutines end with the channel.
	outputs.Go(func() { r.copyOutput(s.Stdout, ch) })
	outputs.Go(func() { r.copyOutput(s.Stderr, ch.Stderr()) })

	startErr := r.start()
	if startErr != nil {
		ch.Close()
	} else {
		go r.copyInput()                       // ends with Stdin, or at the first read after the session has ended
		others.Go(func() { r.sendControls() }) // ends with r.ended, or when the channel is closed
	}
	outputs.Wait()
	close(r.ended)
	others.Wait()

	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case startErr != nil:
		return 0, startErr
	case !r.hasStatus:
		return 0, ErrLost
	}
	return r.status, nil
}

// run is the state of one call of Run.
type run struct {
	ch      ssh.Channel
	session Session
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when all output has been written

	// The result of the session. Written by handleRequests only, and read after it has returned.
	status    int
	hasStatus bool
}

// start requests the environment and the terminal, and then starts the session.
func (r *run) start() error {
	for _, name := range slices.Sorted(maps.Keys(r.session.Env)) {
		// No reply is requested: variables that are not accepted are omitted.
		r.ch.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, r.session.Env[name]}))
	}
	if t := r.session.Terminal; t != nil {
		w := t.Size.window()
		err := r.request("pty-req", "does not allow a terminal", ssh.Marshal(struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}{t.Name, w.Columns, w.Rows, w.Width, w.Height, string(t.Modes) + "\x00"})) // TTY_OP_END
		if err != nil {
			return err
		}
	}
	if r.session.Command == "" {
		return r.request("shell", "does not start a shell", nil)
	}
	return r.request("exec", "does not start the command", ssh.Marshal(struct{ Command string }{r.session.Command}))
}

// request sends a request and fails if the server refuses it.
func (r *run) request(name, refusal string, payload []byte) error {
	ok, err := r.ch.SendRequest(name, true, payload)
	switch {
	case err != nil:
		return ErrLost // package ssh returns io.EOF for every cause
	case !ok:
		return fmt.Errorf("%w: it %s", ErrRefused, refusal)
	}
	return nil
}

// copyOutput copies output until the channel is closed.
func (r *run) copyOutput(to io.Writer, from io.Reader) {
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, from); err != nil { // reads only fail with io.EOF
		r.cancel(fmt.Errorf("%w: %w", ErrOutput, err))
	}
}

// copyInput copies the input and signals its end to the server.
func (r *run) copyInput() {
	in := &input{reader: r.session.Stdin}
	if in.reader == nil {
		in.reader = strings.NewReader("")
	}
	io.Copy(r.ch, in) // writes fail only after the session has ended
	if in.err != nil {
		// Truncated input must not look complete.
		r.cancel(fmt.Errorf("read the session's input: %w", in.err))
		return
	}
	r.ch.CloseWrite()
}

// input records read errors, which io.Copy does not distinguish from write errors.
type input struct {
	reader io.Reader
	err    error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.reader.Read(p)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// sendControls forwards window sizes and signals to the server.
func (r *run) sendControls() {
	for {
		var err error
		select {
		case <-r.ended:
			return
		case size := <-r.session.Resize:
			_, err = r.ch.SendRequest("window-change", false, ssh.Marshal(size.window()))
		case name := <-r.session.Signals:
			_, err = r.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{name}))
		}
		if err != nil { // the channel is closed
			return
		}
	}
}

// handleRequests handles the server's requests until the channel is closed.
func (r *run) handleRequests(requests <-chan *ssh.Request) {
	for req := range requests {
		switch req.Type {
		case "exit-status":
			var msg struct{ Status uint32 }
			if !r.hasStatus && ssh.Unmarshal(req.Payload, &msg) == nil {
				r.status, r.hasStatus = exitStatus(msg.Status), true
			}
		case "exit-signal":
			var msg struct {
				Name       string
				CoreDumped bool
				Message    string
				Language   string
			}
			if ssh.Unmarshal(req.Payload, &msg) == nil {
				r.status, r.hasStatus = signalStatus(msg.Name, r.status), true
			}
		}
		req.Reply(false, nil) // replies if requested, as by keepalive@openssh.com
	}
}

// exitStatus limits a status to the range of a process's exit status, without turning it into 0.
func exitStatus(status uint32) int { return int(min(status, 255)) }

// signalStatus returns the status of a session that a signal ended. Servers may append a suffix to
// names that are not in RFC 4254 §6.10. For an unknown name it returns the status that the server
// sent, if any.
func signalStatus(name string, status int) int {
	name, _, _ = strings.Cut(name, "@")
	if number := unix.SignalNum("SIG" + name); number != 0 {
		return 128 + int(number)
	}
	if status != 0 {
		return status
	}
	return 255
}

// windowSize is the encoding of a size in pty-req and window-change requests (RFC 4254 §6.2, §6.7):
// cells, then pixels.
type windowSize struct{ Columns, Rows, Width, Height uint32 }

func (s Size) window() windowSize {
	return windowSize{uint32(max(s.Width, 0)), uint32(max(s.Height, 0)), uint32(max(s.PixelWidth, 0)), uint32(max(s.PixelHeight, 0))}
}
