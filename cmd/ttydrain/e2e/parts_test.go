package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// natsProgram returns the path of the NATS server, which is built like ttydrain.
func natsProgram(t testing.TB) string {
	t.Helper()
	return programs.nats.build(t, "nats-server", "github.com/nats-io/nats-server/v2")
}

// natsConfig is the configuration of a NATS server that keeps acknowledged messages, with
// additional settings.
func natsConfig(t testing.TB, address, settings string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf(`listen: %q
jetstream { store_dir: %q, sync_interval: always, max_memory_store: 64MB, max_file_store: 4GB }
authorization { user: ttydrain, password: "nats-password" }
%s
`, address, filepath.Join(dir, "data"), settings)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// onNATS makes the processes of the site parts on the NATS servers at these addresses.
func (s *site) onNATS(replicas int, addresses ...string) {
	s.t.Helper()
	nats := fmt.Sprintf(`nats: {url: "nats://%s", replicas: %d, username: ttydrain, password: nats-password}`, strings.Join(addresses, ",nats://"), replicas)
	s.write(s.config, strings.Replace(s.text(), "store: ./data", nats, 1))
}

// text is the configuration.
func (s *site) text() string {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// A part is a process that is killed and restarted with the same arguments. It is an error if it
// ends by itself.
type part struct {
	t       testing.TB
	name    string
	program string
	args    []string

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
	log    *output       // of cmd
	ending bool          // cmd is to end
	logs   []*output     // of all starts
}

// startPart starts a part, which ends with the test at the latest.
func startPart(t testing.TB, name, program string, args ...string) *part {
	t.Helper()
	p := &part{t: t, name: name, program: program, args: args}
	p.start()
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if log := p.said(); t.Failed() {
			t.Logf("what %s said last, of %d starts:\n%s", p.name, len(p.logs), log[max(0, len(log)-1<<14):])
		}
	})
	return p
}

// part starts a part of ttydrain with the site's configuration.
func (s *site) part(name, role string) *part {
	s.t.Helper()
	return startPart(s.t, name, s.program, "serve", "-c", s.config, "--log-format", "json", "--role", role)
}

func (p *part) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log, p.done, p.ending = new(output), make(chan struct{}), false
	p.logs = append(p.logs, p.log)
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, done, log := p.cmd, p.done, p.log
	go func() { // ends with the process, which the cleanup ends
		defer close(done)
		cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.ending {
			said := log.String()
			p.t.Errorf("%s ended by itself: %s\n%s", p.name, cmd.ProcessState, said[max(0, len(said)-1<<13):])
		}
	}()
}

// end ends the process, and returns its exit status, or -1 for a signal.
func (p *part) end(signal syscall.Signal) int {
	p.t.Helper()
	p.mu.Lock()
	p.ending = true
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	cmd.Process.Signal(signal) // it may have ended by itself
	select {
	case <-done:
	case <-time.After(patience):
		p.t.Errorf("%s did not end within %s", p.name, patience)
		cmd.Process.Kill()
		<-done
	}
	return cmd.ProcessState.ExitCode()
}

// kill kills the process, and starts it again at once.
func (p *part) kill() {
	p.t.Helper()
	p.end(syscall.SIGKILL)
	p.start()
}

// stop asks the process to stop, and checks that it does so in order.
func (p *part) stop() {
	p.t.Helper()
	if status := p.end(syscall.SIGTERM); status != 0 {
		p.t.Errorf("%s ended with %d", p.name, status)
	}
}

// ready waits until a part of ttydrain is ready.
func (p *part) ready() {
	p.t.Helper()
	await(p.t, "for "+p.name+" to be ready", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Contains(p.log.String(), `"msg":"ready"`)
	})
}

// said returns the output of all starts of the part.
func (p *part) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, log := range p.logs {
		b.WriteString(log.String())
	}
	return b.String()
}
