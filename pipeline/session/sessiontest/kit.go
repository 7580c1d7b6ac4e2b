package sessiontest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// patience is the maximum duration of a test's session. It is long, because it is not a
// measurement.
const patience = 2 * time.Minute

// kit is a runtime under test, with helpers for tests.
type kit struct {
	Subject
	runtime session.Runtime
}

// line returns the Spec of a shell's command line without a terminal.
func (k *kit) line(commandLine string) session.Spec {
	return session.Spec{Name: "s-1", Operation: "1", App: "web", Command: []string{"/bin/bash"}, CommandLine: commandLine, Memory: 1 << 30, Container: k.Container}
}

// terminal returns the Spec of a shell's command line with a terminal.
func (k *kit) terminal(commandLine string) session.Spec {
	s := k.line(commandLine)
	s.Terminal = &session.Terminal{Name: "xterm-256color", Size: session.Size{Width: 91, Height: 37}}
	return s
}

func (k *kit) start(t *testing.T, spec session.Spec) session.Process {
	t.Helper()
	p, err := k.runtime.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(patience, p.Kill) // the test then continues and fails
	t.Cleanup(func() { hung.Stop() })
	return p
}

// runtimeError returns the error of starting a session.
func (k *kit) runtimeError(spec session.Spec) error {
	p, err := k.runtime.Start(context.Background(), spec)
	if err == nil {
		p.Kill()
		p.Wait()
	}
	return err
}

// press writes keys to a session, as a user types them.
func (k *kit) press(t *testing.T, p session.Process, keys string) {
	t.Helper()
	if _, err := io.WriteString(p.Stdin(), keys); err != nil {
		t.Error(err)
	}
}

func (k *kit) run(t *testing.T, spec session.Spec) Result {
	t.Helper()
	p := k.start(t, spec)
	p.Stdin().Close()
	return Finish(t, p)
}

// expect runs a command that must print want and exit with 0.
func (k *kit) expect(t *testing.T, spec session.Spec, want string) {
	t.Helper()
	got := k.run(t, spec)
	if got.Stdout != want || got.Exit.Status != 0 {
		t.Errorf("%s\nprinted %q, %q on standard error, %+v\nwant    %q", spec.CommandLine, got.Stdout, got.Stderr, got.Exit, want)
	}
}

// cancelAfter returns a context that is cancelled after a while.
func cancelAfter(t *testing.T, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(t.Context(), d, cause)
}
