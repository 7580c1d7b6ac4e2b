package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A Console is the terminal that a process belongs to, wherever its standard streams go.
type Console struct {
	file *os.File
}

// OpenConsole opens the process's terminal; the error says that it has none.
func OpenConsole() (*Console, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal to ask on: %w", err)
	}
	return &Console{file: f}, nil
}

// Close closes the console. An answer that is still awaited then never comes.
func (c *Console) Close() error { return c.file.Close() }

// Ask asks for a line and gives it without the spaces around it.
func (c *Console) Ask(ctx context.Context, prompt string) (string, error) {
	line, err := c.ask(ctx, prompt)
	return strings.TrimSpace(string(line)), err
}

// AskSecret asks for a line without showing what is typed. The terminal echoes again when it
// returns, also when ctx is done first. What was typed before the question is dropped.
func (c *Console) AskSecret(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(c.file.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask on the terminal: %w", err)
	}
	// Before the prompt: somebody may type as soon as it is there.
	if err := echoOff(fd); err != nil {
		return nil, fmt.Errorf("ask on the terminal: turn its echo off: %w", err)
	}
	line, err := c.ask(ctx, prompt)
	fmt.Fprintln(c.file) // the newline that was typed is not shown, either
	return bytes.TrimRight(line, "\r\n"), errors.Join(err, term.Restore(fd, state))
}

func (c *Console) ask(ctx context.Context, prompt string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, err := fmt.Fprint(c.file, prompt); err != nil {
		return nil, fmt.Errorf("ask on the terminal: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the line; when ctx is done first, with the process
		buf := make([]byte, 4096) // a terminal gives one line at a time, and no longer ones
		n, err := c.file.Read(buf)
		answers <- answer{buf[:n], err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("no answer on the terminal: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// echoOff has a terminal give whole lines without showing them, and drops what has been typed.
func echoOff(fd int) error {
	t, err := unix.IoctlGetTermios(fd, readTermios)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO | unix.ECHONL
	t.Lflag |= unix.ICANON | unix.ISIG
	t.Iflag |= unix.ICRNL
	return unix.IoctlSetTermios(fd, flushWriteTermios, t)
}

// LocalTerminal describes a local terminal, for a session to have one like it.
func LocalTerminal(f *os.File) (*Terminal, error) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil, fmt.Errorf("read the terminal's size: %w", err)
	}
	size := Size{int(w.Col), int(w.Row), int(w.Xpixel), int(w.Ypixel)}
	return &Terminal{Name: os.Getenv("TERM"), Size: size, Modes: localModes(int(f.Fd()))}, nil
}

// Discard drops what was typed on a terminal, or sent by it, and not read.
func Discard(f *os.File) error {
	if err := flushInput(int(f.Fd())); err != nil {
		return fmt.Errorf("drop the terminal's input: %w", err)
	}
	return nil
}

// MakeRaw makes a terminal pass everything on as it is typed, and gives what restores it. That may
// be called from any goroutine, and any number of times.
func MakeRaw(f *os.File) (restore func() error, err error) {
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return sync.OnceValue(func() error {
		if err := term.Restore(int(f.Fd()), state); err != nil {
			return fmt.Errorf("restore the terminal: %w; type: stty sane", err)
		}
		return nil
	}), nil
}
