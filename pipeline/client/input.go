package client

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// WatchSize sends the size of the first of the files that is a terminal each time that it changes,
// until stop is called. A size that was not received is replaced by the next one.
func WatchSize(files ...*os.File) (sizes <-chan Size, stop func()) {
	changes, latest := make(chan os.Signal, 1), make(chan Size, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with done
		for {
			select {
			case <-done:
				return
			case <-changes:
			}
			for _, f := range files {
				if t, err := LocalTerminal(f); err == nil {
					select {
					case <-latest:
					default:
					}
					latest <- t.Size // has room: this is the only sender
					break
				}
			}
		}
	})
	return latest, func() {
		signal.Stop(changes)
		close(done)
		wg.Wait()
	}
}

// endOfInput is the key Ctrl-D.
const endOfInput = 4

// A TypedInput passes an input that is no terminal to a session that has one: there the end of the
// input is a key.
type TypedInput struct {
	from    io.Reader
	midLine bool
	end     []byte // keys of the end that are left to send
	ended   bool
}

// NewTypedInput returns an input that reads from a reader.
func NewTypedInput(from io.Reader) *TypedInput { return &TypedInput{from: from} }

// Read implements [io.Reader].
func (t *TypedInput) Read(p []byte) (int, error) {
	if !t.ended {
		n, err := t.from.Read(p)
		if n > 0 {
			t.midLine = p[n-1] != '\n' && p[n-1] != '\r'
			return n, nil // an error comes again
		}
		if err != io.EOF {
			return 0, err
		}
		t.ended, t.end = true, []byte{endOfInput}
		if t.midLine { // there the first one only ends the line
			t.end = append(t.end, endOfInput)
		}
	}
	if len(t.end) == 0 {
		return 0, io.EOF
	}
	n := copy(p, t.end)
	t.end = t.end[n:]
	return n, nil
}
