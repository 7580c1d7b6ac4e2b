package client

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// A Local runs sessions on the streams of this process. All fields but ForceTTY are required.
type Local struct {
	Stdin, Stdout, Stderr *os.File
	// ForceTTY requests a terminal even if the input or the output is none.
	ForceTTY bool
	// Signals are the signals of this process. Without a terminal, they are passed on to the
	// session, and the third one ends it; with one, the first one ends it, since keys are input of
	// the session. Another signal after that one exits the process, whose output is then blocked.
	Signals *Signals
	// Cancel cancels the context of Run.
	Cancel context.CancelCauseFunc
}

// Run runs a command, or the app's own for "", as [Client.Run] does. With a terminal it is in raw
// mode until Run returns.
func (l *Local) Run(ctx context.Context, c *Client, command string, env map[string]string) (status int, err error) {
	s := Session{Command: command, Env: env, Stdin: l.Stdin, Stdout: l.Stdout, Stderr: l.Stderr}
	typed := term.IsTerminal(int(l.Stdin.Fd()))
	if l.ForceTTY || typed && term.IsTerminal(int(l.Stdout.Fd())) {
		return l.runOnTerminal(ctx, c, s, typed)
	}
	pass := make(chan string, 2)
	s.Signals = pass
	received := 0 // used by the signals' goroutine only
	defer l.Signals.Handle(func(sig syscall.Signal) {
		received++
		switch {
		case received > 3: // the connection is closed, and something still blocks
			os.Exit(128 + int(sig))
		case received == 3:
			l.Cancel(EndedBy(sig))
		default:
			pass <- SignalName(sig) // has room for both
		}
	})()
	return c.Run(ctx, s)
}

// runOnTerminal runs a session with a terminal. typed reports whether the input is a terminal.
func (l *Local) runOnTerminal(ctx context.Context, c *Client, s Session, typed bool) (status int, err error) {
	restore := func() error { return nil }
	received := 0
	var restoring sync.Mutex // guards restore between the signals' goroutine and this one
	defer l.Signals.Handle(func(sig syscall.Signal) {
		received++
		l.Cancel(EndedBy(sig))
		if received > 1 { // the output is blocked
			restoring.Lock()
			restore()
			os.Exit(128 + int(sig))
		}
	})()

	resize, stop := WatchSize(l.Stdin, l.Stdout, l.Stderr)
	defer stop()
	s.Resize = resize
	s.Terminal = &Terminal{Name: os.Getenv("TERM")}
	for _, f := range []*os.File{l.Stdin, l.Stdout, l.Stderr} {
		if t, err := LocalTerminal(f); err == nil {
			s.Terminal = t
			break
		}
	}
	s.Terminal.Name = cmp.Or(s.Terminal.Name, "dumb")
	if !typed {
		s.Stdin = NewTypedInput(l.Stdin)
		return c.Run(ctx, s)
	}
	restoring.Lock()
	restore, err = MakeRaw(l.Stdin)
	restoring.Unlock()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, restore()) }() // after a panic, too
	return c.Run(ctx, s)
}
