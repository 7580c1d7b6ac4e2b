package dockertest

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program is a server that runs on this host for a test.
type program struct {
	cmd  *exec.Cmd
	log  lockedBuffer
	over chan struct{} // closed when it has ended
}

// startProgram starts a server. It also ends if this process is killed.
func startProgram(t testing.TB, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), over: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	// The kernel sends this signal when the *thread* that started the child ends, so the thread
	// waits for the child.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	started := make(chan error, 1)
	go func() { // ends with the server, which the test's cleanup ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.over)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return p
}

// end stops the server with a signal. It may be called repeatedly.
func (p *program) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	select {
	case <-p.over:
		return
	default:
	}
	p.cmd.Process.Signal(signal)
	select {
	case <-p.over:
	case <-time.After(patience):
		t.Errorf("%s does not end:\n%s", p.cmd, p.log.String())
		p.cmd.Process.Kill()
		<-p.over
	}
}

// lockedBuffer collects the output of a server.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

// String returns the end of the output.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text[max(0, len(b.text)-1<<14):])
}
