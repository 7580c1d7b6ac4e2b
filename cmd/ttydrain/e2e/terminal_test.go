package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// prompt is the prompt of the app's shell.
const prompt = "ready> "

// A terminal is a real one, with a client in it: its output and its keyboard. The client makes it
// raw, so that the output is byte for byte what the client wrote.
type terminal struct {
	t    testing.TB
	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed when everything that the client showed was read

	mu      sync.Mutex // guards what follows
	shown   []byte
	changed *sync.Cond // of mu: shown has grown
	looked  int        // everything before it has been expected
	ended   bool
}

// inTerminal starts a client in a terminal of 100 by 30.
func inTerminal(t testing.TB, cmd *exec.Cmd) *terminal {
	t.Helper()
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, cmd: cmd, file: file, done: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	go func() { // ends with the client, which holds the terminal's other end
		defer close(s.done)
		buffer := make([]byte, 64<<10)
		for {
			n, err := file.Read(buffer)
			s.mu.Lock()
			s.shown = append(s.shown, buffer[:n]...)
			s.ended = err != nil
			s.changed.Broadcast()
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.done
		file.Close()
	})
	return s
}

// press types text.
func (s *terminal) press(text string) {
	s.t.Helper()
	if _, err := s.file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until the client shows the text after everything expected before.
func (s *terminal) expect(text string) {
	s.t.Helper()
	s.until("show "+strings.TrimSpace(text), func() bool {
		at := bytes.Index(s.shown[s.looked:], []byte(text))
		if at < 0 {
			return false
		}
		s.looked += at + len(text)
		return true
	})
}

// expectBytes waits until the client has shown that many bytes after everything expected before.
func (s *terminal) expectBytes(n int) {
	s.t.Helper()
	s.until("show the output", func() bool {
		if len(s.shown) < s.looked+n {
			return false
		}
		s.looked += n
		return true
	})
}

// sofar returns the output so far.
func (s *terminal) sofar() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.shown)
}

func (s *terminal) until(what string, holds func() bool) {
	s.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !holds() {
		if s.ended || late {
			s.t.Fatalf("the client did not %q; it showed %q", what, s.shown[max(s.looked, len(s.shown)-4096):])
		}
		s.changed.Wait()
	}
}

// do types a command line at the prompt and waits for the next prompt.
func (s *terminal) do(command string) {
	s.t.Helper()
	s.press(command + "\r")
	s.expect("\n")
	s.expect(prompt)
}

func (s *terminal) resize(width, height uint16) {
	s.t.Helper()
	if err := pty.Setsize(s.file, &pty.Winsize{Cols: width, Rows: height}); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits for the client's end, and returns its whole output and its exit status.
func (s *terminal) wait() (shown []byte, status int) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("the client did not end within %s", patience)
	}
	s.cmd.Wait()
	return s.shown, s.cmd.ProcessState.ExitCode()
}

var bannerOperation = regexp.MustCompile(`^ttydrain: operation ([0-9]+): `)

// operationOf returns the operation in the banner of the session.
func operationOf(t testing.TB, shown []byte) string {
	t.Helper()
	found := bannerOperation.FindSubmatch(shown)
	if found == nil {
		t.Fatalf("no operation in the banner: %.200q", shown)
	}
	return string(found[1])
}
