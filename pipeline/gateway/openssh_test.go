package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// openssh returns a command that runs OpenSSH's client against the gateway, with one key and
// without the machine's configuration.
func (s *stand) openssh(key ed25519.PrivateKey, args ...string) *exec.Cmd {
	s.t.Helper()
	program, err := exec.LookPath("ssh")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			s.t.Fatal("OpenSSH's client (ssh) is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		s.t.Skip("SKIPPED: OpenSSH's client (ssh) is not installed: nothing here is tested with a real client")
	}
	_, port, _ := net.SplitHostPort(s.address)
	hosts := filepath.Join(s.t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{s.address}, s.host.PublicKey())
	if err := os.WriteFile(hosts, []byte(line+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{
		"-F", "none", "-p", port, "-i", writeKey(s.t, key),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + hosts, "-o", "GlobalKnownHostsFile=none",
	}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color"}
	return cmd
}

// result runs a client to its end.
func result(t testing.TB, cmd *exec.Cmd, stdin []byte) (stdout, stderr []byte, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return out.Bytes(), errs.Bytes(), cmd.ProcessState.ExitCode()
}

// A screen is a client's terminal output, and its keyboard.
type screen struct {
	t    testing.TB
	file *os.File

	mu      sync.Mutex // guards text
	text    []byte
	changed chan struct{} // has one element if there may be new text; closed at the end
}

// onScreen starts a client in a terminal of 80 by 24.
func onScreen(t testing.TB, cmd *exec.Cmd) *screen {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, file: f, changed: make(chan struct{}, 1)}
	go func() { // ends with the client, which holds the other end of the terminal
		defer close(s.changed)
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			s.mu.Lock()
			s.text = append(s.text, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range s.changed {
		}
		f.Close()
	})
	return s
}

func (s *screen) press(text string) {
	s.t.Helper()
	if _, err := s.file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until the pattern is on the screen, and removes everything up to its end.
func (s *screen) expect(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for open := true; ; {
		s.mu.Lock()
		at := re.FindIndex(s.text)
		if at != nil {
			found := string(s.text[:at[1]])
			s.text = s.text[at[1]:]
			s.mu.Unlock()
			return found
		}
		text := string(s.text)
		s.mu.Unlock()
		if !open {
			s.t.Fatalf("the client ended without %q; screen:\n%q", pattern, text)
		}
		select {
		case _, open = <-s.changed:
		case <-deadline:
			s.t.Fatalf("waited in vain for %q; screen:\n%q", pattern, text)
		}
	}
}

func TestOpenSSHInteractive(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	cmd := s.openssh(s.adaKey, "web@127.0.0.1")
	screen := onScreen(t, cmd)
	screen.expect(`\$ `)
	req := wait(t, shells.Requests, "the session")
	if req.App != "web" || req.User.ID != "u-1" || req.Command != "" {
		t.Errorf("request: %+v", req)
	}
	if tty := req.Terminal; tty == nil || tty.Name != "xterm-256color" || tty.Size != (session.Size{Width: 80, Height: 24}) || len(tty.Modes) == 0 {
		t.Errorf("terminal: %+v", tty)
	}
	screen.press("stty size; echo $TERM\r")
	screen.expect(`\n24 80\r\nxterm-256color\r\n`)

	// The program polls until it sees the change, which is sent separately from the input.
	if err := pty.Setsize(screen.file, &pty.Winsize{Rows: 40, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	screen.press("until [ \"$(stty size)\" = '40 132' ]; do :; done; echo now $(stty size)\r")
	screen.expect(`now 40 132\r\n`) // possibly after a late prompt

	screen.press("exit 3\r")
	screen.expect(`Connection to 127\.0\.0\.1 closed`)
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 3 {
		t.Errorf("exit status %d", status)
	}
}

func TestOpenSSHBytes(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	random := make([]byte, 1<<20)
	rand.Read(random)
	stdout, stderr, status := result(t, s.openssh(s.adaKey, "web@127.0.0.1", "cat"), random)
	if !bytes.Equal(stdout, random) || len(stderr) != 0 || status != 0 {
		t.Errorf("cat: %d bytes out, equal %t, stderr %q, status %d", len(stdout), bytes.Equal(stdout, random), stderr, status)
	}
	stdout, stderr, status = result(t, s.openssh(s.adaKey, "web@127.0.0.1", "tee /dev/stderr"), random)
	if !bytes.Equal(stdout, random) || !bytes.Equal(stderr, random) || status != 0 {
		t.Errorf("tee: %d and %d bytes, status %d", len(stdout), len(stderr), status)
	}
	stdout, stderr, status = result(t, s.openssh(s.adaKey, "web@127.0.0.1", "echo out; echo err >&2"), nil)
	if string(stdout) != "out\n" || string(stderr) != "err\n" || status != 0 {
		t.Errorf("apart: %q, %q, status %d", stdout, stderr, status)
	}
}

func TestOpenSSHExit(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	for command, want := range map[string]int{"exit 0": 0, "exit 3": 3, "exit 255": 255, "kill -TERM $$": 255} {
		if _, stderr, status := result(t, s.openssh(s.adaKey, "web@127.0.0.1", command), nil); status != want {
			t.Errorf("%s: status %d, want %d; %s", command, status, want, stderr)
		}
	}
	// A command with a terminal: one stream, and the terminal's line ends.
	stdout, _, status := result(t, s.openssh(s.adaKey, "-tt", "web@127.0.0.1", "echo out; echo err >&2; exit 4"), nil)
	if string(stdout) != "out\r\nerr\r\n" || status != 4 {
		t.Errorf("with a terminal: %q, status %d", stdout, status)
	}
}

func TestOpenSSHEnvironment(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells, func(o *Options) { o.AcceptEnv = append(o.AcceptEnv, "A*") })
	cmd := s.openssh(s.adaKey,
		"-o", "SetEnv=LC_ALL=C.UTF-8 EDITOR=ed SECRET=1 ACCESS_TOKEN=t APTIBLE_USER_DOCUMENT=d", "web@127.0.0.1", "env")
	stdout, stderr, status := result(t, cmd, nil)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"LC_ALL=C.UTF-8\n", "EDITOR=ed\n"} {
		if !strings.Contains(string(stdout), want) {
			t.Errorf("no %q in %q", want, stdout)
		}
	}
	for _, not := range []string{"SECRET", "ACCESS_TOKEN", "APTIBLE_USER_DOCUMENT"} {
		if strings.Contains(string(stdout), not) {
			t.Errorf("%s in %q", not, stdout)
		}
	}
}

func TestOpenSSHRefusals(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	dir := t.TempDir()

	// A real agent, since the client asks for forwarding only if it has one.
	agentSocket, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer agentSocket.Close()
	go func() { // ends with the listener
		for {
			c, err := agentSocket.Accept()
			if err != nil {
				return
			}
			agent.ServeAgent(agent.NewKeyring(), c)
			c.Close()
		}
	}()

	for _, test := range []struct {
		name   string
		args   []string
		env    []string
		stderr []string
		status int
	}{
		{"remote forwarding", []string{"-R", "0:127.0.0.1:9", "web@127.0.0.1", "true"}, nil,
			[]string{"remote port forwarding failed", "notice: " + noForwarding}, 0},
		{"remote forwarding of a socket", []string{"-R", "/tmp/x:127.0.0.1:9", "web@127.0.0.1", "true"}, nil,
			[]string{"remote port forwarding failed", "notice: " + noForwarding}, 0},
		{"standard input forwarding", []string{"-W", "127.0.0.1:9", "web@127.0.0.1"}, nil,
			[]string{"administratively prohibited: " + noForwarding}, 255},
		{"agent", []string{"-A", "web@127.0.0.1", "true"}, []string{"SSH_AUTH_SOCK=" + filepath.Join(dir, "agent")},
			[]string{"notice: " + noAgent}, 0},
		{"X11", []string{"-Y", "web@127.0.0.1", "true"}, []string{"DISPLAY=127.0.0.1:99"},
			[]string{"X11 forwarding request failed", "notice: " + noX11}, 0},
		{"subsystem", []string{"-s", "web@127.0.0.1", "sftp"}, nil,
			[]string{"ttydrain: " + noSubsystem + "\n", "subsystem request failed"}, 255},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := s.openssh(s.adaKey, test.args...)
			cmd.Env = append(cmd.Env, test.env...)
			_, stderr, status := result(t, cmd, nil)
			for _, want := range test.stderr {
				if !strings.Contains(string(stderr), want) {
					t.Errorf("no %q in %q", want, stderr)
				}
			}
			if status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
		})
	}

	t.Run("local forwarding", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "l")
		cmd := s.openssh(s.adaKey, "-L", socket+":127.0.0.1:9", "web@127.0.0.1", "cat")
		var stderr lockedBuffer
		cmd.Stderr = &stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		io.WriteString(stdin, "up\n")
		if _, err := io.ReadFull(stdout, make([]byte, 3)); err != nil { // the socket exists earlier
			t.Fatal(err)
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("the forwarding gave %q", rest)
		}
		c.Close()
		stdin.Close()
		io.ReadAll(stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the session: %v", err)
		}
		if want := "administratively prohibited: " + noForwarding; !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in %q", want, &stderr)
		}
	})
}

// TestOpenSSHSubsystemRefusalIsShown repeats the test: without a guarantee of the order, it depends
// on timing whether a client shows a message before it exits.
func TestOpenSSHSubsystemRefusalIsShown(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	for range 10 {
		_, stderr, _ := result(t, s.openssh(s.adaKey, "-s", "web@127.0.0.1", "sftp"), nil)
		if !strings.Contains(string(stderr), noSubsystem) {
			t.Fatalf("the message is not in %q", stderr)
		}
	}
}

// TestOpenSSHDenialsAreIndistinguishable compares all of the client's output at the highest
// verbosity.
func TestOpenSSHDenialsAreIndistinguishable(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	_, stranger := newKey(t)
	hidden := regexp.MustCompile(`SHA256:\S+|/\S+/key|pid \d+|\d+ms|fd \d+`)
	var first, firstName string
	for _, test := range []struct {
		name, app string
		key       ed25519.PrivateKey
	}{
		{"unknown key", "web", stranger},
		{"unknown app", "wob", s.adaKey},
		{"unknown app and key", "wob", stranger},
		{"key without the app", "api", s.adaKey},
	} {
		_, stderr, status := result(t, s.openssh(test.key, "-vvv", test.app+"@127.0.0.1", "true"), nil)
		if status != 255 {
			t.Fatalf("%s: status %d", test.name, status)
		}
		text := strings.ReplaceAll(hidden.ReplaceAllString(string(stderr), "…"), test.app+"@", "APP@")
		text = strings.ReplaceAll(text, "'"+test.app+"'", "'APP'")
		text = regexp.MustCompile(`/\S+known_hosts`).ReplaceAllString(text, "…")
		if !strings.Contains(text, "Permission denied (publickey)") {
			t.Fatalf("%s: %s", test.name, text)
		}
		if first == "" {
			first, firstName = text, test.name
		} else if text != first {
			t.Errorf("%s differs from %s:\n%s\n%s", test.name, firstName, text, first)
		}
	}
}

func TestOpenSSHTwoSessionsOnOneConnection(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	control := "ControlPath=" + filepath.Join(t.TempDir(), "c")
	master := s.openssh(s.adaKey, "-o", "ControlMaster=yes", "-o", control, "web@127.0.0.1", "cat")
	stdin, err := master.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := master.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	defer master.Process.Kill()
	wait(t, shells.Requests, "the first session")
	io.WriteString(stdin, "first\n")
	if _, err := io.ReadFull(stdout, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	out, stderr, status := result(t, s.openssh(s.adaKey, "-o", control, "web@127.0.0.1", "cat; exit 5"), []byte("second\n"))
	if string(out) != "second\n" || status != 5 {
		t.Errorf("second session: %q, %q, status %d", out, stderr, status)
	}
	s.mu.Lock()
	if n := len(s.connections); n != 1 {
		t.Errorf("%d connections", n)
	}
	s.mu.Unlock()
	stdin.Close()
	if err := master.Wait(); err != nil {
		t.Errorf("first session: %v", err)
	}
}

func TestOpenSSHKilled(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	for _, args := range [][]string{{"web@127.0.0.1", "sleep 1000"}, {"-tt", "web@127.0.0.1", "sleep 1000"}} {
		cmd := s.openssh(s.adaKey, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait(t, shells.Requests, "the session")
		cmd.Process.Kill()
		cmd.Wait()
		if cause := wait(t, shells.Causes, "the cause"); !errors.Is(cause, session.ErrDisconnected) {
			t.Errorf("%v: cause %v", args, cause)
		}
	}
}

func TestOpenSSHStop(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	cmd := s.openssh(s.adaKey, "web@127.0.0.1")
	screen := onScreen(t, cmd)
	screen.expect(`\$ `)
	s.stop()
	screen.expect(`notice: this gateway stops\r\n`)
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 75 {
		t.Errorf("status %d", status)
	}
	if cause := wait(t, shells.Causes, "the cause"); !errors.Is(cause, session.ErrShutdown) {
		t.Errorf("cause %v", cause)
	}
	if err := wait(t, s.served, "Serve"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Error("the gateway still listens")
	}
}

func TestOpenSSHRefused(t *testing.T) {
	s := serve(t, runs(refuseAll))
	_, stderr, status := result(t, s.openssh(s.adaKey, "web@127.0.0.1", "true"), nil)
	if string(stderr) != "ttydrain: one at a time\nend the other first\n" || status != 255 {
		t.Errorf("%q, status %d", stderr, status)
	}
	screen := onScreen(t, s.openssh(s.adaKey, "web@127.0.0.1"))
	screen.expect(`ttydrain: one at a time\r\nend the other first\r\n`)
}
