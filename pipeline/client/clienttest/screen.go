package clienttest

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// Screen is a terminal with a program in it, operated by a test.
type Screen struct {
	Process *os.Process
	// Before are the terminal's modes before the program started, in the form of [Screen.Modes].
	Before *term.State

	t        testing.TB
	cmd      *exec.Cmd
	keyboard *os.File
	terminal *os.File // kept open to inspect the terminal after the program has ended
	ended    chan struct{}
	read     sync.WaitGroup

	mu      sync.Mutex // guards text
	text    []byte
	changed chan struct{} // receives a value when there may be new text
}

// OnScreen starts a program in a terminal of 80 by 24 cells. Streams that cmd already has are kept.
func OnScreen(t testing.TB, cmd *exec.Cmd) *Screen {
	t.Helper()
	keyboard, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &Screen{t: t, cmd: cmd, keyboard: keyboard, terminal: terminal, ended: make(chan struct{}), changed: make(chan struct{}, 1)}
	s.Resize(80, 24)
	s.Before = s.Modes() // before the program can change them
	if cmd.Stdin == nil {
		cmd.Stdin = terminal
	}
	if cmd.Stdout == nil {
		cmd.Stdout = terminal
	}
	if cmd.Stderr == nil {
		cmd.Stderr = terminal
	}
	// Descriptor 3 makes it the controlling terminal even if no stream is a terminal.
	cmd.ExtraFiles = []*os.File{terminal}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Process = cmd.Process
	s.read.Go(func() { // ends when all descriptors of the terminal are closed
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			s.mu.Lock()
			s.text = append(s.text, buf[:n]...)
			s.mu.Unlock()
			select {
			case s.changed <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	})
	go func() { // ends with the program
		cmd.Wait() // its error is in the status
		close(s.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.ended
		terminal.Close()
		s.read.Wait()
		keyboard.Close()
		if t.Failed() {
			t.Logf("the screen had %q", s.Text())
		}
	})
	return s
}

// Text returns all output so far.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := strings.CutSuffix(string(s.text), endMark)
	return text
}

// endMark is written to the terminal by the test after the program has ended: once it is read, all
// earlier output has been read.
const endMark = "\x00end\x00"

// Await waits until the output contains text, and returns all output so far.
func (s *Screen) Await(text string) string {
	s.t.Helper()
	s.awaitAll(func(all string) bool { return strings.Contains(all, text) }, text)
	return s.Text()
}

// awaitAll waits until done returns true for the whole output, including the end mark.
func (s *Screen) awaitAll(done func(text string) bool, what string) {
	s.t.Helper()
	timeout := time.After(Patience)
	for {
		s.mu.Lock()
		all := string(s.text)
		s.mu.Unlock()
		if done(all) {
			return
		}
		select {
		case <-s.changed:
		case <-timeout:
			s.t.Fatalf("no %q on the screen: %q", what, all)
		}
	}
}

// Type enters text on the keyboard.
func (s *Screen) Type(text string) {
	s.t.Helper()
	if _, err := s.keyboard.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// Resize changes the window's size.
func (s *Screen) Resize(width, height int) {
	s.t.Helper()
	if err := pty.Setsize(s.keyboard, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		s.t.Fatal(err)
	}
}

// Modes returns the terminal's current modes, to be compared with reflect.DeepEqual.
func (s *Screen) Modes() *term.State {
	s.t.Helper()
	modes, err := term.GetState(int(s.terminal.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	return modes
}

// Status waits for the end of the program and returns its exit status, or -1 if a signal ended it.
// Afterwards Text returns the program's complete output. It may be called once.
func (s *Screen) Status() int {
	s.t.Helper()
	Wait(s.t, s.ended, "the program's end")
	if _, err := s.terminal.WriteString(endMark); err != nil {
		s.t.Fatal(err)
	}
	s.awaitAll(func(text string) bool { return strings.HasSuffix(text, endMark) }, "end")
	return s.cmd.ProcessState.ExitCode()
}
