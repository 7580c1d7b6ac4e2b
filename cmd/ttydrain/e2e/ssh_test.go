package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/pipeline/session"
)

const sshPassphrase = "correct horse"

// An sshPerson is a user at a computer of their own, who knows the gateway and may use it.
type sshPerson struct {
	t       *testing.T
	program string
	home    string
	key     ssh.Signer
	gateway *clienttest.Gateway
	env     []string
}

func newSSHPerson(t *testing.T, program string) *sshPerson {
	t.Helper()
	p := &sshPerson{t: t, program: program, home: t.TempDir()}
	key, private := clienttest.NewKey(t)
	clienttest.WriteKey(t, p.file("id_ed25519"), private, "")
	p.key = key
	p.gateway = clienttest.StartGateway(t, []ssh.PublicKey{key.PublicKey()})
	p.env = []string{
		"HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8", "LC_TEST=ä", "SECRET=no",
		"TTYDRAIN_APP=" + clienttest.App, "TTYDRAIN_ADDRESS=" + p.gateway.Address,
	}
	p.knows(p.gateway.HostKeys[0].PublicKey())
	return p
}

func (p *sshPerson) file(name string) string { return filepath.Join(p.home, ".ssh", name) }

// knows makes the key the known one of the gateway.
func (p *sshPerson) knows(key ssh.PublicKey) {
	p.t.Helper()
	line := knownhosts.Line([]string{p.gateway.Address}, key) + "\n"
	if err := os.WriteFile(p.file("known_hosts"), []byte(line), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *sshPerson) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.program, append([]string{"ssh"}, args...)...)
	cmd.Env = p.env
	return cmd
}

// run runs the client without a terminal of any kind.
func (p *sshPerson) run(stdin string, args ...string) (stdout, stderr string, status int) {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(clienttest.Patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if _, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok && cmd.ProcessState.ExitCode() != 0 {
		p.t.Fatal("it did not run")
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestSSH uses the binary as users and their scripts do.
func TestSSH(t *testing.T) {
	t.Parallel()
	program := fastProgram(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *sshPerson)
	}{
		{"scripts", testSSHScripts},
		{"command line", testSSHCommandLine},
		{"terminal", testSSHTerminal},
		{"raw mode is restored", testSSHRestores},
		{"one terminal", testSSHOneTerminal},
		{"forced terminal", testSSHForcedTerminal},
		{"signals", testSSHSignals},
		{"ignored signals", testSSHNohup},
		{"closed output", testSSHClosedOutput},
		{"unknown host", testSSHUnknownHost},
		{"changed host", testSSHChangedHost},
		{"passphrase", testSSHPassphrase},
		{"keys", testSSHKeys},
		{"no gateway", testSSHNoGateway},
		{"openssh", testSSHOpenSSH},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newSSHPerson(t, program)) })
	}
}

func testSSHScripts(t *testing.T, p *sshPerson) {
	for _, test := range []struct {
		name, stdin    string
		args           []string
		stdout, stderr string
		status         int
	}{
		{"success", "", []string{"true"}, "", "", 0},
		{"streams apart", "", []string{"echo out; echo err >&2; exit 4"}, "out\n", "err\n", 4},
		{"words are joined", "", []string{"echo", "a  b", "'c  d'"}, "a b c  d\n", "", 0},
		{"flags of the command", "", []string{"printf", "%s,", "--app", "-i", "--", "--help"}, "--app,-i,--,--help,", "", 0},
		{"a command after --", "", []string{"--", "echo", "x"}, "x\n", "", 0},
		{"end of input", "a\nb\n", []string{"wc -l"}, "2\n", "", 0},
		{"own command", "echo $0; exit 6\n", nil, "/bin/sh\n", "", 6},
		{"no terminal", "", []string{"test -t 0 || test -t 1 || echo none"}, "none\n", "", 0},
		{"environment", "", []string{"echo $LANG $LC_TEST $SECRET"}, "C.UTF-8 ä\n", "", 0},
		{"ended by a signal", "", []string{"kill -SEGV $$"}, "", "", 128 + 11},
		{"refused", "", []string{"refuse"}, "", "ttydrain: no session for you\n", 255},
	} {
		stdout, stderr, status := p.run(test.stdin, test.args...)
		if stdout != test.stdout || stderr != test.stderr || status != test.status {
			t.Errorf("%s: status %d, output %q, error output %q", test.name, status, stdout, stderr)
		}
	}
}

func testSSHCommandLine(t *testing.T, p *sshPerson) {
	if _, stderr, status := p.run("", "--no-such-flag"); status != 2 || !strings.Contains(stderr, "--no-such-flag") {
		t.Errorf("a flag that there is not: status %d, %q", status, stderr)
	}
	if stdout, stderr, status := p.run("", "--app", "other", "true"); stdout != "" || status != 255 || !strings.Contains(stderr, `"other"`) || !strings.Contains(stderr, "login refused") {
		t.Errorf("another app: status %d, %q", status, stderr)
	}
	p.env = append(p.env, "TTYDRAIN_APP=")
	if stdout, stderr, status := p.run("", "echo the one app"); status != 0 || stdout != "the one app\n" || stderr != "" {
		t.Errorf("no app: status %d, %q", status, stderr)
	}
}

func testSSHTerminal(t *testing.T, p *sshPerson) {
	screen := clienttest.OnScreen(t, p.command())
	before := screen.Before
	req := clienttest.Wait(t, p.gateway.Requests, "the session")
	if req.Terminal == nil || req.Terminal.Name != "xterm-256color" || req.Terminal.Size != (session.Size{Width: 80, Height: 24}) || len(req.Terminal.Modes) < 100 {
		t.Errorf("terminal %+v", req.Terminal)
	}
	screen.Await("$ ")
	if reflect.DeepEqual(before, screen.Modes()) {
		t.Error("the terminal is not raw")
	}
	// Only the session's terminal echoes the input: once.
	screen.Type("echo 'what''ever'\r")
	text := screen.Await("\r\nwhatever\r\n")
	if n := strings.Count(text, "echo 'what''ever'"); n != 1 {
		t.Errorf("%d echoes in %q", n, text)
	}
	screen.Type("trap 'echo size $(stty size)' WINCH; echo re''ady\r")
	screen.Await("ready")
	screen.Resize(132, 43)
	screen.Type("\r")
	for i := 0; !strings.Contains(screen.Text(), "size 43 132"); i++ {
		// There is no signal for the arrival of the change: the trap shows it after one of these.
		screen.Type(fmt.Sprintf("echo n''r%d\r", i))
		screen.Await(fmt.Sprintf("nr%d\r\n", i))
	}
	// A shell of its own, which is in one process group with its children: ^C reaches it in any case.
	screen.Type(`sh -c "trap 'echo cau\"\"ght; exit' INT; echo wait\"\"ing; while :; do sleep 0.01; done"` + "\r")
	screen.Await("waiting\r\n")
	screen.Type("\x03")
	screen.Await("caught\r\n")
	screen.Type("exit 5\r")
	if status := screen.Status(); status != 5 {
		t.Errorf("status %d", status)
	}
	if after := screen.Modes(); !reflect.DeepEqual(before, after) {
		t.Errorf("modes before %v, after %v", before, after)
	}
}

func testSSHRestores(t *testing.T, p *sshPerson) {
	for _, test := range []struct {
		name   string
		end    func(*clienttest.Screen)
		status int
	}{
		{"exit", func(s *clienttest.Screen) { s.Type("exit 7\r") }, 7},
		{"end of input", func(s *clienttest.Screen) { s.Type("\x04") }, 0},
		{"ended there by a signal", func(s *clienttest.Screen) { s.Type("kill -KILL $$\r") }, 128 + 9},
		{"SIGTERM", func(s *clienttest.Screen) { s.Process.Signal(syscall.SIGTERM) }, 128 + 15},
		{"SIGHUP", func(s *clienttest.Screen) { s.Process.Signal(syscall.SIGHUP) }, 128 + 1},
		{"SIGINT", func(s *clienttest.Screen) { s.Process.Signal(syscall.SIGINT) }, 128 + 2},
		{"SIGQUIT", func(s *clienttest.Screen) { s.Process.Signal(syscall.SIGQUIT) }, 128 + 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := p.command()
			screen := clienttest.OnScreen(t, cmd)
			before := screen.Before
			screen.Await("$ ")
			if reflect.DeepEqual(before, screen.Modes()) {
				t.Error("the terminal is not raw")
			}
			test.end(screen)
			if status := screen.Status(); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			if after := screen.Modes(); !reflect.DeepEqual(before, after) {
				t.Errorf("modes before %v, after %v", before, after)
			}
		})
	}
	// Two signals end it even if its output is blocked.
	t.Run("stuck output", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := p.command("--force-tty", "yes")
		cmd.Stdout = w
		screen := clienttest.OnScreen(t, cmd)
		before := screen.Before
		w.Close()
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		screen.Process.Signal(syscall.SIGTERM)
		screen.Process.Signal(syscall.SIGHUP)
		if status := screen.Status(); status != 128+15 && status != 128+1 {
			t.Errorf("status %d", status)
		}
		if after := screen.Modes(); !reflect.DeepEqual(before, after) {
			t.Errorf("modes before %v, after %v", before, after)
		}
	})
}

// testSSHOneTerminal: the session has a terminal if input and output both are one, and otherwise
// none.
func testSSHOneTerminal(t *testing.T, p *sshPerson) {
	const ask = "for i in 0 1 2; do test -t $i && printf yes || printf no; done"
	for _, test := range []struct {
		name   string
		change func(*exec.Cmd, io.Writer)
		want   string
	}{
		{"all", func(*exec.Cmd, io.Writer) {}, "yesyesyes"},
		{"no output", func(cmd *exec.Cmd, out io.Writer) { cmd.Stdout = out }, "nonono"},
		{"no input", func(cmd *exec.Cmd, _ io.Writer) { cmd.Stdin = strings.NewReader("") }, "nonono"},
		{"no error output", func(cmd *exec.Cmd, out io.Writer) { cmd.Stderr = out }, "yesyesyes"},
	} {
		cmd := p.command(ask)
		var out bytes.Buffer
		test.change(cmd, &out)
		screen := clienttest.OnScreen(t, cmd)
		if status := screen.Status(); status != 0 || screen.Text()+out.String() != test.want {
			t.Errorf("%s: status %d, %q on the screen, %q elsewhere", test.name, status, screen.Text(), out.String())
		}
	}
}

func testSSHForcedTerminal(t *testing.T, p *sshPerson) {
	p.env = append(p.env, "TERM=")
	for _, test := range []struct{ stdin, command, stdout string }{
		{"", "test -t 0 && test -t 1 && test -t 2 && echo $TERM $(stty size)", "dumb 24 80\r\n"},
		{"one\ntwo\n", "stty -echo; cat", "one\r\ntwo\r\n"},
		{"no newline", "stty -echo; cat", "no newline"},
	} {
		stdout, stderr, status := p.run(test.stdin, "--force-tty", test.command)
		// Input before stty has turned off the echo is echoed as well.
		if status != 0 || !strings.HasSuffix(stdout, test.stdout) || stderr != "" {
			t.Errorf("%s: status %d, output %q, error output %q", test.command, status, stdout, stderr)
		}
	}
}

func testSSHSignals(t *testing.T, p *sshPerson) {
	start := func(command string) (*exec.Cmd, *bytes.Buffer) {
		cmd := p.command(command)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil { // it is ready
			t.Fatal(err)
		}
		return cmd, &stderr
	}
	end := func(cmd *exec.Cmd) int {
		timer := time.AfterFunc(clienttest.Patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait() // its error is in the status
		return cmd.ProcessState.ExitCode()
	}
	for _, test := range []struct {
		signal syscall.Signal
		name   string
	}{{syscall.SIGINT, "INT"}, {syscall.SIGTERM, "TERM"}, {syscall.SIGHUP, "HUP"}, {syscall.SIGQUIT, "QUIT"}} {
		cmd, _ := start("trap 'exit 9' " + test.name + "; echo; while :; do sleep 0.01; done")
		cmd.Process.Signal(test.signal)
		if status := end(cmd); status != 9 {
			t.Errorf("%s, which the session takes: status %d", test.name, status)
		}
		cmd, _ = start("echo; exec sleep 1000")
		cmd.Process.Signal(test.signal)
		if status := end(cmd); status != 128+int(test.signal) {
			t.Errorf("%s, which ends the session: status %d", test.name, status)
		}
	}
	cmd, stderr := start("trap '' INT TERM HUP QUIT; echo; sleep 1000; sleep 1000")
	// Different ones, since a pending signal is not counted twice.
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Process.Signal(syscall.SIGHUP)
	if status := end(cmd); status <= 128 || !strings.Contains(stderr.String(), "ended by the signal") {
		t.Errorf("a session that takes none: status %d, %q", status, stderr)
	}
	if cause := clienttest.Wait(t, p.gateway.Causes, "the session's end"); !errors.Is(cause, session.ErrDisconnected) {
		t.Errorf("the session ended for %v", cause)
	}
}

// testSSHNohup: a signal that was ignored when the client started stays ignored.
func testSSHNohup(t *testing.T, p *sshPerson) {
	cmd := exec.Command("/bin/sh", "-c", `trap '' HUP; exec "$0" ssh 'echo; read line; echo "got $line"'`, p.program)
	cmd.Env = p.env
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
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGHUP)
	io.WriteString(stdin, "it\n")
	text, err := io.ReadAll(stdout)
	if err := errors.Join(err, cmd.Wait()); err != nil || string(text) != "got it\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// testSSHClosedOutput: it ends silently when its output is closed.
func testSSHClosedOutput(t *testing.T, p *sshPerson) {
	for _, args := range [][]string{{"yes"}, {"--force-tty", "yes"}} {
		cmd := p.command(args...)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		screen := clienttest.OnScreen(t, cmd)
		before := screen.Before
		w.Close()
		if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if status := screen.Status(); status != 128+int(syscall.SIGPIPE) || screen.Text() != "" {
			t.Errorf("%q: status %d, said %q", args, status, screen.Text())
		}
		if after := screen.Modes(); !reflect.DeepEqual(before, after) {
			t.Errorf("modes before %v, after %v", before, after)
		}
	}
}

func testSSHUnknownHost(t *testing.T, p *sshPerson) {
	fingerprint := ssh.FingerprintSHA256(p.gateway.HostKeys[0].PublicKey())
	forget := func() {
		if err := os.Remove(p.file("known_hosts")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	forget()
	_, stderr, status := p.run("", "true")
	if status != 255 || !strings.Contains(stderr, fingerprint) || !strings.Contains(stderr, "--accept-new") || !strings.Contains(stderr, p.file("known_hosts")) {
		t.Errorf("without a terminal: status %d, %q", status, stderr)
	}
	if _, err := os.Stat(p.file("known_hosts")); err == nil {
		t.Error("it was added")
	}
	for _, test := range []struct {
		name, answer string
		status       int
	}{{"no", "no\r", 255}, {"something else, then yes", "what\ryes\r", 3}, {"the fingerprint", fingerprint + "\r", 3}, {"Ctrl-C", "\x03", 130}, {"Ctrl-D", "\x04", 255}} {
		forget()
		screen := clienttest.OnScreen(t, p.command("exit 3"))
		if text := screen.Await("(yes/no/[fingerprint])? "); !strings.Contains(text, fingerprint) {
			t.Errorf("asked %q", text)
		}
		screen.Type(test.answer)
		if status := screen.Status(); status != test.status {
			t.Errorf("%s: status %d", test.name, status)
		}
		if _, err := os.Stat(p.file("known_hosts")); (err == nil) != (test.status == 3) {
			t.Errorf("%s: known hosts: %v", test.name, err)
		}
	}
	forget()
	if _, stderr, status := p.run("", "--accept-new", "exit 3"); status != 3 || !strings.Contains(stderr, fingerprint) {
		t.Errorf("accepted: status %d, %q", status, stderr)
	}
	if _, stderr, status := p.run("", "exit 3"); status != 3 || stderr != "" {
		t.Errorf("known by then: status %d, %q", status, stderr)
	}
}

func testSSHChangedHost(t *testing.T, p *sshPerson) {
	other, _ := clienttest.NewKey(t)
	p.knows(other.PublicKey())
	before, _ := os.ReadFile(p.file("known_hosts"))
	for _, args := range [][]string{{"true"}, {"--accept-new", "true"}} {
		_, stderr, status := p.run("", args...)
		for _, want := range []string{"@@@@@", "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", ssh.FingerprintSHA256(p.gateway.HostKeys[0].PublicKey()), p.file("known_hosts") + ":1", "ssh-keygen -f"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("no %q in %q", want, stderr)
			}
		}
		if status != 255 {
			t.Errorf("status %d", status)
		}
	}
	screen := clienttest.OnScreen(t, p.command("true"))
	if status := screen.Status(); status != 255 || !strings.Contains(screen.Text(), "WARNING") || strings.Contains(screen.Text(), "yes/no") {
		t.Errorf("on a terminal: status %d", status)
	}
	if after, _ := os.ReadFile(p.file("known_hosts")); !bytes.Equal(before, after) {
		t.Errorf("the known hosts are now %q", after)
	}
}

func testSSHPassphrase(t *testing.T, p *sshPerson) {
	key, private := clienttest.NewKey(t)
	clienttest.WriteKey(t, p.file("id_ed25519"), private, sshPassphrase)
	p.gateway = clienttest.StartGateway(t, []ssh.PublicKey{key.PublicKey()})
	p.knows(p.gateway.HostKeys[0].PublicKey())
	p.env = append(p.env, "TTYDRAIN_ADDRESS="+p.gateway.Address)
	for _, test := range []struct {
		name, wrong, answer string
		status              int
	}{{"right", "", sshPassphrase + "\r", 3}, {"wrong, then right", "wrong horse\r", sshPassphrase + "\r", 3}, {"none", "", "\r", 255}, {"Ctrl-C", "", "half of it\x03", 130}} {
		t.Run(test.name, func(t *testing.T) {
			// The answer comes from the terminal, not from the input.
			cmd := p.command("exit 3")
			cmd.Stdin = strings.NewReader("")
			screen := clienttest.OnScreen(t, cmd)
			before := screen.Before
			screen.Await("Enter passphrase for key '" + p.file("id_ed25519") + "': ")
			if test.wrong != "" {
				screen.Type(test.wrong)
				screen.Await("Wrong passphrase. Enter")
			}
			screen.Type(test.answer)
			if status := screen.Status(); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			if strings.Contains(screen.Text(), "horse") || strings.Contains(screen.Text(), "half") {
				t.Error("the passphrase is on the screen")
			}
			if after := screen.Modes(); !reflect.DeepEqual(before, after) {
				t.Errorf("modes before %v, after %v", before, after)
			}
		})
	}
	if _, stderr, status := p.run("", "true"); status != 255 || !strings.Contains(stderr, p.file("id_ed25519")+": is encrypted: there is no terminal") {
		t.Errorf("without a terminal: status %d, %q", status, stderr)
	}
}

func testSSHKeys(t *testing.T, p *sshPerson) {
	mine := filepath.Join(p.home, "mine")
	if err := os.Rename(p.file("id_ed25519"), mine); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := p.run("", "true")
	if status != 255 {
		t.Errorf("no keys: status %d", status)
	}
	for _, want := range []string{"no key to log in with", "SSH_AUTH_SOCK", p.file("id_rsa"), "--identity", "ssh-keygen"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %q", want, stderr)
		}
	}
	if _, stderr, status := p.run("", "-i", p.file("missing"), "--identity", mine, "exit 3"); status != 3 || stderr != "ttydrain: not used: "+p.file("missing")+": no such file or directory\n" {
		t.Errorf("named keys: status %d, %q", status, stderr)
	}
}

func testSSHNoGateway(t *testing.T, p *sshPerson) {
	_, stderr, status := p.run("", "--address", "127.0.0.1:1", "true")
	if status != 255 || !strings.Contains(stderr, "connection refused") || !strings.Contains(stderr, "--address") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func testSSHOpenSSH(t *testing.T, p *sshPerson) {
	s := clienttest.StartOpenSSH(t, p.key.PublicKey())
	p.env = append(p.env, "TTYDRAIN_APP="+s.User, "TTYDRAIN_ADDRESS="+s.Address)
	stdout, stderr, status := p.run("abc", "--accept-new", "wc -c; echo err >&2; exit 5")
	if stdout != "3\n" || !strings.HasSuffix(stderr, "be ?[31mwelcome\nerr\n") || status != 5 {
		t.Errorf("status %d, output %q, error output %q", status, stdout, stderr)
	}
	if _, _, status := p.run("", "kill -TERM $$"); status != 128+15 {
		t.Errorf("ended by a signal: status %d", status)
	}
	// The control keys of this terminal are those of the session, too.
	cmd := p.command("stty -a; echo ready; cat")
	screen := clienttest.OnScreen(t, cmd)
	before := screen.Before
	screen.Await("ready\r\n")
	if text := screen.Text(); !strings.Contains(text, "rows 24; columns 80") || !strings.Contains(text, "erase = ^?") {
		t.Errorf("on the screen: %q", screen.Text())
	}
	screen.Type("typed\r")
	screen.Await("typed\r\ntyped\r\n")
	screen.Type("\x04")
	if status := screen.Status(); status != 0 {
		t.Errorf("status %d", status)
	}
	if after := screen.Modes(); !reflect.DeepEqual(before, after) {
		t.Errorf("modes before %v, after %v", before, after)
	}
}
