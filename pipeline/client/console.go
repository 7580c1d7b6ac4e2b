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

// Console is the controlling terminal of the process, independent of its standard streams.
type Console struct {
	file *os.File
}

// OpenConsole opens the controlling terminal. It fails if the process has none.
func OpenConsole() (*Console, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal to ask on: %w", err)
	}
	return &Console{file: f}, nil
}

// Close closes the console. A pending question remains unanswered.
func (c *Console) Close() error { return c.file.Close() }

// Ask prompts for a line and returns it without surrounding space.
func (c *Console) Ask(ctx context.Context, prompt string) (string, error) {
	line, err := c.ask(ctx, prompt)
	return strings.TrimSpace(string(line)), err
}

// AskSecret prompts for a line without echo and discards earlier input. It restores the echo before
// it returns, also if ctx is done first.
func (c *Console) AskSecret(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(c.file.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask on the terminal: %w", err)
	}
	// Before the prompt, since the user may type as soon as it is visible.
	if err := echoOff(fd); err != nil {
		return nil, fmt.Errorf("ask on the terminal: disable echo: %w", err)
	}
	line, err := c.ask(ctx, prompt)
	fmt.Fprintln(c.file) // the typed newline is not echoed either
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
	go func() { // ends with the line, or with the process if ctx is done first
		buf := make([]byte, 4096) // a terminal returns one line per read and limits its length
		n, err := c.file.Read(buf)
		answers <- answer{buf[:n], err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("read the answer from the terminal: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// echoOff puts a terminal into line mode without echo and discards its pending input.
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

// LocalTerminal describes a local terminal, as the model for a session's terminal.
func LocalTerminal(f *os.File) (*Terminal, error) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil, fmt.Errorf("read the terminal's size: %w", err)
	}
	size := Size{int(w.Col), int(w.Row), int(w.Xpixel), int(w.Ypixel)}
	return &Terminal{Name: os.Getenv("TERM"), Size: size, Modes: localModes(int(f.Fd()))}, nil
}

// Discard discards the unread input of a terminal.
func Discard(f *os.File) error {
	if err := flushInput(int(f.Fd())); err != nil {
		return fmt.Errorf("discard the terminal's input: %w", err)
	}
	return nil
}

// MakeRaw puts a terminal into raw mode and returns a function that restores it. The function is
// safe for concurrent use and may be called several times.
func MakeRaw(f *os.File) (restore func() error, err error) {
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("switch the terminal to raw mode: %w", err)
	}
	return sync.OnceValue(func() error {
		if err := term.Restore(int(f.Fd()), state); err != nil {
			return fmt.Errorf("restore the terminal: %w; run: stty sane", err)
		}
		return nil
	}), nil
}
