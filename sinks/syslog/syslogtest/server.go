package syslogtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// patience bounds every wait for a server. It is long, since nothing is measured by it.
const patience = 30 * time.Second

// Options of a server.
type Options struct {
	// RequireClientCert makes it refuse connections without a certificate by the authority.
	RequireClientCert bool
	// Newline makes syslog-ng expect newline framing. rsyslog takes both framings on one port.
	Newline bool
}

// A Server is a running syslog server. It stops with the test.
type Server struct {
	Certificates
	// Address is its host:port, the same after a restart.
	Address string

	name    string
	command func() *exec.Cmd // makes the command that starts it
	output  string           // the file that it writes messages to
	log     string           // the file with its own log

	process *exec.Cmd // nil while it does not run
	exited  chan struct{}

	mu       sync.Mutex // guards the fields below
	read     int64      // bytes of output that messages were made of
	messages []Message
}

// A Message is one that a server received, as the server understood it.
type Message struct {
	// Raw is the message as it came, without framing.
	Raw      string `json:"raw"`
	Priority string `json:"pri"`
	Hostname string `json:"hostname"`
	App      string `json:"app"`
	ProcID   string `json:"procid"`
	MsgID    string `json:"msgid"`
	// SD is the structured data in its written form.
	SD   string `json:"sd"`
	Text string `json:"msg"`
}

// TLS returns the settings of a sink for the server, with the client certificate.
func (s *Server) TLS() sinks.TLS {
	return sinks.TLS{CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile}
}

// start starts a server that was not started before, on a free port.
func start(t testing.TB, s *Server) *Server {
	t.Helper()
	t.Cleanup(func() { s.end(os.Kill) })
	s.Start(t)
	return s
}

// Start starts the server after a Stop or Kill, and returns when it listens.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own
	command := s.command()
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	exited := make(chan struct{})
	go func() { // until the process ends
		defer close(exited)
		command.Wait()
	}()
	s.process, s.exited = command, exited
	s.until(t, "listen on "+s.Address, func() bool {
		conn, err := net.Dial("tcp", s.Address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// Stop asks the server to end, and returns when it has: all that it had read is in its file.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.end(syscall.SIGTERM); err != nil {
		t.Fatalf("stop %s: %v\n%s", s.name, err, s.says())
	}
}

// Kill ends the server at once. A line of its file that it had not written to the end is removed:
// the next server would append to it.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.end(os.Kill); err != nil {
		t.Fatalf("kill %s: %v", s.name, err)
	}
	data, err := os.ReadFile(s.output)
	if err == nil {
		err = os.Truncate(s.output, int64(bytes.LastIndexByte(data, '\n')+1))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("remove an incomplete line of %s: %v", s.name, err)
	}
}

// Restart stops and starts the server.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.Start(t)
}

// Signal sends the running server a signal, such as SIGSTOP.
func (s *Server) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		t.Fatalf("send %v to %s: %v", signal, s.name, err)
	}
}

func (s *Server) end(signal os.Signal) error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		s.process = nil
		return nil
	case <-time.After(patience):
		return errors.New("it did not end")
	}
}

// Lines waits until the server has written at least want messages, and returns all that it has.
func (s *Server) Lines(t testing.TB, want int) []Message {
	t.Helper()
	s.until(t, "write the messages to its file", func() bool { return s.readLines(t) >= want })
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// readLines reads the messages that were written since its last call, and returns the number of all
// messages.
func (s *Server) readLines(t testing.TB) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.Open(s.output)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, s.read, math.MaxInt64-s.read))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is still being written
		}
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s wrote a line that is not JSON: %v: %q", s.name, err, line)
		}
		s.messages = append(s.messages, m)
		s.read += int64(len(line))
	}
	return len(s.messages)
}

// until waits for the server to be ready for something.
func (s *Server) until(t testing.TB, what string, ready func() bool) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	exited := s.exited
	if s.process == nil {
		exited = nil
	}
	for !ready() {
		select {
		case <-exited:
			t.Fatalf("%s ended and did not %s:\n%s", s.name, what, s.says())
		case <-deadline:
			t.Fatalf("%s did not %s within %v:\n%s", s.name, what, patience, s.says())
		case <-again.C:
		}
	}
}

// says is the server's own log.
func (s *Server) says() []byte {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

// program finds a program on PATH or where system programs are, which PATH often lacks.
func program(name string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// absent skips the test, or fails it where servers are required.
func absent(t testing.TB, what, remedy string) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("%s is not there, and TTYDRAIN_REQUIRE_SERVERS=1 requires it: %s", what, remedy)
	}
	t.Skipf("NOT TESTED against a real server: %s is not there: %s", what, remedy)
}

func writeConfig(t testing.TB, dir, text string) string {
	t.Helper()
	file := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
