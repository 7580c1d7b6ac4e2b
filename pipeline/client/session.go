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

// A Session says what to run and where its input and output are. Everything may be left out.
type Session struct {
	// Command is a command line for the server's shell; "" for the app's own command.
	Command string
	// Terminal asks for a terminal; nil for a session with standard output and error apart.
	Terminal *Terminal
	// Env is what the session's environment shall have. The server takes what it accepts and
	// ignores the rest without saying so.
	Env map[string]string
	// Stdin is what the session reads; its end is passed on. nil is empty. See Run for a read that
	// outlasts the session.
	Stdin io.Reader
	// Stdout and Stderr get the output; nil drops it. A Write that blocks holds the session back.
	// With a terminal, all of the session's output is on Stdout, and Stderr has only what the
	// gateway says of itself. Each is written by one goroutine, so the two must not be the same
	// writer unless that may be used by two.
	Stdout, Stderr io.Writer
	// Resize has the terminal's sizes after the first, Signals names of signals (RFC 4254 §6.10,
	// without "SIG") for the session. Both may be nil, and should not be closed.
	Resize  <-chan Size
	Signals <-chan string
}

// A Terminal is what a session's terminal shall be like.
type Terminal struct {
	Name string // TERM
	Size Size   // zeros where it is not known
	// Modes are the encoded terminal modes of RFC 4254 §8; nil for the server's own.
	Modes []byte
}

// Size is a terminal's size, in cells and in pixels; zeros where it is not known.
type Size struct{ Width, Height, PixelWidth, PixelHeight int }

var (
	// ErrRefused is wrapped by Run's error when the server would not start the session. What the
	// server said about it has been written to Stderr.
	ErrRefused = errors.New("the gateway refused the session")
	// ErrOutput is wrapped by Run's error when an output could not be written, together with why.
	ErrOutput = errors.New("the session's output cannot be written")
	// ErrLost is wrapped by Run's error when the session ended without an exit status.
	ErrLost = errors.New("the connection to the gateway was lost before the session had ended")
)

// Run runs one session to its end and returns its exit status, which is 128 plus the signal's
// number when a signal ended it. The status means nothing when there is an error.
//
// When ctx is done, Run closes the whole connection and its error wraps the context's cause. It
// does the same when Stdin or an output fails.
//
// When Run has returned, nothing is written to the outputs any more; so a Write that blocks for
// ever blocks Run. A Read of Stdin may still be under way, and what it gets is lost: end Stdin to
// end it.
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
	defer ch.Close() // when it is closed already, this does nothing

	r := run{ch: ch, session: s, cancel: cancel, ended: make(chan struct{})}
	var outputs, others sync.WaitGroup
	others.Go(func() { r.answer(requests) }) // ends with the channel
	// The output is read before the session starts, since it may say why it does not. Both end with
	// the channel.
	outputs.Go(func() { r.show(s.Stdout, ch) })
	outputs.Go(func() { r.show(s.Stderr, ch.Stderr()) })

	startErr := r.start()
	if startErr != nil {
		ch.Close()
	} else {
		go r.feed()                       // ends with Stdin, or at the first read after the session's end
		others.Go(func() { r.control() }) // ends with r.ended, or at a write to a channel that has closed
	}
	outputs.Wait()
	close(r.ended)
	others.Wait()

	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case startErr != nil:
		return 0, startErr
	case !r.told:
		return 0, ErrLost
	}
	return r.status, nil
}

// A run is one call of Run.
type run struct {
	ch      ssh.Channel
	session Session
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when all output has been written

	// How the session ended. Written by answer alone, and read when that has returned.
	status int
	told   bool
}

// start asks for everything that the session shall have, and then for the session.
func (r *run) start() error {
	for _, name := range slices.Sorted(maps.Keys(r.session.Env)) {
		// Nobody waits for the answer: what is not accepted is done without.
		r.ch.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, r.session.Env[name]}))
	}
	if t := r.session.Terminal; t != nil {
		w := t.Size.window()
		err := r.request("pty-req", "gives no terminal", ssh.Marshal(struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}{t.Name, w.Columns, w.Rows, w.Width, w.Height, string(t.Modes) + "\x00"})) // TTY_OP_END
		if err != nil {
			return err
		}
	}
	if r.session.Command == "" {
		return r.request("shell", "does not start it", nil)
	}
	return r.request("exec", "does not start the command", ssh.Marshal(struct{ Command string }{r.session.Command}))
}

// request makes a request that the session cannot do without.
func (r *run) request(name, refusal string, payload []byte) error {
	ok, err := r.ch.SendRequest(name, true, payload)
	switch {
	case err != nil:
		return ErrLost // the library's error is io.EOF whatever happened
	case !ok:
		return fmt.Errorf("%w: it %s", ErrRefused, refusal)
	}
	return nil
}

// show copies output until the channel is closed.
func (r *run) show(to io.Writer, from io.Reader) {
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, from); err != nil { // reading gives io.EOF only
		r.cancel(fmt.Errorf("%w: %w", ErrOutput, err))
	}
}

// feed copies the input, and passes its end on.
func (r *run) feed() {
	in := &input{reader: r.session.Stdin}
	if in.reader == nil {
		in.reader = strings.NewReader("")
	}
	io.Copy(r.ch, in) // writing fails only when the session has ended
	if in.err != nil {
		// Input that was cut off must not look complete.
		r.cancel(fmt.Errorf("the session's input cannot be read: %w", in.err))
		return
	}
	r.ch.CloseWrite()
}

// input remembers how reading failed, which io.Copy does not tell from how writing did.
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

// control passes on sizes and signals.
func (r *run) control() {
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
		if err != nil { // the channel has closed
			return
		}
	}
}

// answer takes what the server asks or tells until the channel is closed.
func (r *run) answer(requests <-chan *ssh.Request) {
	for req := range requests {
		switch req.Type {
		case "exit-status":
			var msg struct{ Status uint32 }
			if !r.told && ssh.Unmarshal(req.Payload, &msg) == nil {
				r.status, r.told = exitStatus(msg.Status), true
			}
		case "exit-signal":
			var msg struct {
				Name       string
				CoreDumped bool
				Message    string
				Language   string
			}
			if ssh.Unmarshal(req.Payload, &msg) == nil {
				r.status, r.told = signalStatus(msg.Name, r.status), true
			}
		}
		req.Reply(false, nil) // where an answer is wanted, such as to keepalive@openssh.com
	}
}

// exitStatus is a status that a process can exit with, and 0 only for 0.
func exitStatus(status uint32) int { return int(min(status, 255)) }

// signalStatus is the status of a session that a signal ended. Servers may add a suffix to names
// that RFC 4254 §6.10 does not have. For a name that nobody knows it is what the server gave as the
// status, if any.
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

// windowSize is a size as a pty-req and a window-change have it (RFC 4254 §6.2, §6.7): in cells,
// and in pixels.
type windowSize struct{ Columns, Rows, Width, Height uint32 }

func (s Size) window() windowSize {
	return windowSize{uint32(max(s.Width, 0)), uint32(max(s.Height, 0)), uint32(max(s.PixelWidth, 0)), uint32(max(s.PixelHeight, 0))}
}
