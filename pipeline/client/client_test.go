package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// dialGateway logs in on a gateway of the test's own.
func dialGateway(t *testing.T) (*client.Client, *clienttest.Gateway) {
	t.Helper()
	ada, _ := clienttest.NewKey(t)
	g := clienttest.StartGateway(t, []ssh.PublicKey{ada.PublicKey()})
	return dial(t, client.Options{Address: g.Address, User: clienttest.App, Signers: []ssh.Signer{ada}, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey())}), g
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// servers has each test of it run against ttydrain's gateway and OpenSSH's server.
func servers(t *testing.T, test func(t *testing.T, c *client.Client)) {
	t.Run("gateway", func(t *testing.T) {
		c, _ := dialGateway(t)
		test(t, c)
	})
	t.Run("openssh", func(t *testing.T) {
		ada, _ := clienttest.NewKey(t)
		s := clienttest.StartOpenSSH(t, ada.PublicKey())
		test(t, dial(t, client.Options{Address: s.Address, User: s.User, Signers: []ssh.Signer{ada}, HostKey: ssh.FixedHostKey(s.HostKey)}))
	})
}

func TestRun(t *testing.T) {
	servers(t, func(t *testing.T, c *client.Client) {
		for _, test := range []struct {
			name, command, stdin string
			env                  map[string]string
			stdout, stderr       string
			status               int
		}{
			{name: "success", command: "true"},
			{name: "streams apart", command: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
			{name: "status", command: "exit 42", status: 42},
			{name: "large status", command: "exit 255", status: 255},
			{name: "no such command", command: "no-such-command 2>/dev/null", status: 127},
			{name: "end of input", command: "wc -c", stdin: "12345", stdout: "5\n"},
			{name: "no input", command: "cat"},
			{name: "own command", stdin: "exit 3\n", status: 3},
			{name: "binary", command: "cat", stdin: "\x00\xff\x03\x04\x1a\r\n\x1b[", stdout: "\x00\xff\x03\x04\x1a\r\n\x1b["},
			{name: "environment", command: "echo $LANG $LC_TEST", env: map[string]string{"LANG": "C", "LC_TEST": "äö"}, stdout: "C äö\n"},
			{name: "ended by TERM", command: "kill -TERM $$", status: 128 + 15},
			{name: "ended by KILL", command: "kill -KILL $$", status: 128 + 9},
			{name: "ended by USR1", command: "kill -USR1 $$", status: 128 + 10},
		} {
			t.Run(test.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), clienttest.Patience)
				defer cancel()
				var stdout, stderr bytes.Buffer
				status, err := c.Run(ctx, client.Session{
					Command: test.command, Stdin: strings.NewReader(test.stdin), Env: test.env, Stdout: &stdout, Stderr: &stderr,
				})
				if err != nil || status != test.status || stdout.String() != test.stdout || stderr.String() != test.stderr {
					t.Errorf("status %d, %v, output %q, error output %q", status, err, stdout.String(), stderr.String())
				}
			})
		}
	})
}

// TestRunDeliversAllOutput checks that the last output of a program is not lost, and none is added.
func TestRunDeliversAllOutput(t *testing.T) {
	servers(t, func(t *testing.T, c *client.Client) {
		var stdout bytes.Buffer
		status, err := c.Run(t.Context(), client.Session{
			Command: "head -c 8000000 /dev/zero; printf end; exit 9", Stdout: &stdout,
		})
		if err != nil || status != 9 || stdout.Len() != 8000003 || !strings.HasSuffix(stdout.String(), "\x00end") {
			t.Errorf("status %d, %v, %d bytes", status, err, stdout.Len())
		}
	})
}

// watched is an output that a test can wait for.
type watched struct {
	mu      sync.Mutex // guards text
	text    string
	changed chan struct{}
}

func newWatched() *watched { return &watched{changed: make(chan struct{}, 1)} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.text += string(p)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *watched) await(t *testing.T, text string) {
	t.Helper()
	for {
		w.mu.Lock()
		has := w.text
		w.mu.Unlock()
		if strings.Contains(has, text) {
			return
		}
		clienttest.Wait(t, w.changed, "the output "+text)
	}
}

// result is the result of Run in a goroutine.
type result struct {
	status int
	err    error
}

func start(ctx context.Context, c *client.Client, s client.Session) <-chan result {
	results := make(chan result, 1)
	go func() {
		status, err := c.Run(ctx, s)
		results <- result{status, err}
	}()
	return results
}

// TestTerminalPixelSize checks that the size in pixels reaches the session's terminal.
func TestTerminalPixelSize(t *testing.T) {
	servers(t, func(t *testing.T, c *client.Client) {
		var shown bytes.Buffer
		status, err := c.Run(t.Context(), client.Session{
			Command:  `python3 -c 'import fcntl, struct, termios; print(*struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))'`,
			Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24, PixelWidth: 800, PixelHeight: 480}},
			Stdout:   &shown,
		})
		if status != 0 || err != nil || shown.String() != "24 80 800 480\r\n" {
			t.Errorf("%q, status %d, %v", shown.String(), status, err)
		}
	})
}

func TestTerminal(t *testing.T) {
	servers(t, func(t *testing.T, c *client.Client) {
		stdin, keyboard := io.Pipe()
		defer keyboard.Close()
		screen, resize := newWatched(), make(chan client.Size)
		results := start(t.Context(), c, client.Session{
			// What a trapped signal does to read differs from shell to shell.
			Command:  `trap 'echo size $(stty size)' WINCH; echo $TERM; test -t 0 && stty size; while :; do read line; test "$line" = q && exit 5; done`,
			Terminal: &client.Terminal{Name: "vt220", Size: client.Size{Width: 100, Height: 30}},
			Stdin:    stdin, Stdout: screen, Resize: resize,
		})
		screen.await(t, "vt220\r\n30 100\r\n")
		resize <- client.Size{Width: 132, Height: 43}
		// Some shells run the trap only when a line has come after the signal, which the key may
		// overtake: so the key is pressed until the size is there.
		shown := make(chan struct{})
		var pressing sync.WaitGroup
		pressing.Go(func() {
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for {
				io.WriteString(keyboard, "\n")
				select {
				case <-again.C:
				case <-shown:
					return
				}
			}
		})
		screen.await(t, "size 43 132\r\n")
		close(shown)
		pressing.Wait()
		io.WriteString(keyboard, "q\n")
		if r := clienttest.Wait(t, results, "the end"); r.err != nil || r.status != 5 {
			t.Errorf("status %d, %v", r.status, r.err)
		}
	})
}

// TestInterrupt checks that Ctrl-C in a terminal is passed on like any other key.
func TestInterrupt(t *testing.T) {
	servers(t, func(t *testing.T, c *client.Client) {
		stdin, keyboard := io.Pipe()
		defer keyboard.Close()
		screen := newWatched()
		results := start(t.Context(), c, client.Session{
			Command:  `trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.01; done`,
			Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}}, Stdin: stdin, Stdout: screen,
		})
		screen.await(t, "ready")
		io.WriteString(keyboard, "\x03")
		if r := clienttest.Wait(t, results, "the end"); r.err != nil || r.status != 7 {
			t.Errorf("status %d, %v", r.status, r.err)
		}
		screen.await(t, "caught")
	})
}

// TestSignals uses the gateway only: OpenSSH's server passes on signals only to users other than
// root.
func TestSignals(t *testing.T) {
	c, _ := dialGateway(t)
	for _, test := range []struct {
		command string
		status  int
	}{
		{"trap 'exit 6' INT; echo ready; while :; do sleep 0.01; done", 6},
		{"echo ready; exec sleep 1000", 128 + 2},
	} {
		stdout, signals := newWatched(), make(chan string)
		results := start(t.Context(), c, client.Session{Command: test.command, Stdout: stdout, Signals: signals})
		stdout.await(t, "ready")
		signals <- "INT"
		if r := clienttest.Wait(t, results, "the end"); r.err != nil || r.status != test.status {
			t.Errorf("%s: status %d, %v", test.command, r.status, r.err)
		}
	}
}

func TestRefused(t *testing.T) {
	c, _ := dialGateway(t)
	for _, test := range []struct {
		name, command, said string
		err                 error
		status              int
	}{
		{"by the session", "refuse", "no session for you", nil, 255},
		{"by the gateway", strings.Repeat("x", 200_000), "too long", client.ErrRefused, 0},
	} {
		var stderr bytes.Buffer
		status, err := c.Run(t.Context(), client.Session{Command: test.command, Stderr: &stderr})
		if !errors.Is(err, test.err) || status != test.status || !strings.Contains(stderr.String(), test.said) {
			t.Errorf("%s: status %d, %v, said %q", test.name, status, err, stderr.String())
		}
	}
}

func TestCancel(t *testing.T) {
	c, g := dialGateway(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stdout := newWatched()
	stdin, _ := io.Pipe() // never ends
	results := start(ctx, c, client.Session{Command: "echo ready; sleep 1000", Stdin: stdin, Stdout: stdout})
	stdout.await(t, "ready")
	why := errors.New("enough")
	cancel(why)
	if r := clienttest.Wait(t, results, "the end"); r.err != why {
		t.Errorf("%v", r.err)
	}
	if cause := clienttest.Wait(t, g.Causes, "the session's end"); !errors.Is(cause, session.ErrDisconnected) {
		t.Errorf("the session ended for %v", cause)
	}
	if _, err := c.Run(t.Context(), client.Session{Command: "true"}); err == nil {
		t.Error("the connection still works")
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestBrokenStreams checks that a session ends with an error if its input or output fails.
func TestBrokenStreams(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name   string
		s      client.Session
		output bool
	}{
		{"output", client.Session{Command: "echo; sleep 1000", Stdout: brokenWriter{broken}}, true},
		{"error output", client.Session{Command: "echo >&2; sleep 1000", Stderr: brokenWriter{broken}}, true},
		{"input", client.Session{Command: "cat; sleep 1000", Stdin: iotest.ErrReader(broken)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := dialGateway(t)
			r := clienttest.Wait(t, start(t.Context(), c, test.s), "the end")
			if !errors.Is(r.err, broken) || errors.Is(r.err, client.ErrOutput) != test.output {
				t.Errorf("%v", r.err)
			}
		})
	}
}

// proxy passes a connection on until it is cut.
func proxy(t *testing.T, to string) (address string, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	conns := make(chan net.Conn, 2)
	running.Go(func() { // ends with the listener, or with the connection
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		conns <- in
		conns <- out
		running.Go(func() { io.Copy(in, out) })
		running.Go(func() { io.Copy(out, in) })
	})
	cut = sync.OnceFunc(func() {
		l.Close()
		for range 2 {
			clienttest.Wait(t, conns, "a connection").Close()
		}
		running.Wait()
	})
	t.Cleanup(cut)
	return l.Addr().String(), cut
}

func TestConnectionLost(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	g := clienttest.StartGateway(t, []ssh.PublicKey{ada.PublicKey()})
	address, cut := proxy(t, g.Address)
	c := dial(t, client.Options{Address: address, User: clienttest.App, Signers: []ssh.Signer{ada}, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey())})
	stdout := newWatched()
	results := start(t.Context(), c, client.Session{Command: "echo ready; sleep 1000", Stdout: stdout})
	stdout.await(t, "ready")
	cut()
	if r := clienttest.Wait(t, results, "the end"); !errors.Is(r.err, client.ErrLost) {
		t.Errorf("%v", r.err)
	}
}

func TestLoginRefused(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	eve, _ := clienttest.NewKey(t)
	g := clienttest.StartGateway(t, []ssh.PublicKey{ada.PublicKey()})
	many := make([]ssh.Signer, 20)
	for i := range many {
		many[i], _ = clienttest.NewKey(t)
	}
	for _, test := range []struct {
		name    string
		user    string
		signers []ssh.Signer
	}{
		{"unknown key", clienttest.App, []ssh.Signer{eve}},
		{"unknown app", "nothing", []ssh.Signer{ada}},
		{"more keys than the server takes", clienttest.App, many},
	} {
		_, err := client.Dial(t.Context(), client.Options{
			Address: g.Address, User: test.user, Signers: test.signers, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey()),
		})
		if !errors.Is(err, client.ErrLogin) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(test.signers[0].PublicKey())) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	dial(t, client.Options{Address: g.Address, User: clienttest.App, Signers: []ssh.Signer{eve, ada}, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey())})
}

func TestLoginRefusedByOpenSSH(t *testing.T) {
	eve, _ := clienttest.NewKey(t)
	s := clienttest.StartOpenSSH(t)
	var banner bytes.Buffer
	_, err := client.Dial(t.Context(), client.Options{Address: s.Address, User: s.User, Signers: []ssh.Signer{eve}, HostKey: ssh.FixedHostKey(s.HostKey), Banner: &banner})
	if !errors.Is(err, client.ErrLogin) {
		t.Errorf("%v", err)
	}
	if banner.String() != "be ?[31mwelcome\n" {
		t.Errorf("banner %q", banner.String())
	}
}

// TestNoServer connects to addresses that are silent, speak another protocol, or have no listener.
func TestNoServer(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	for _, test := range []struct {
		name  string
		serve func(net.Conn)
		want  string
	}{
		{"silent", func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout"},
		{"gone at once", func(c net.Conn) { c.Close() }, ""},
		{"something else", func(c net.Conn) { io.WriteString(c, strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 100)); c.Close() }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { // ends with the listener, or with the client
				if c, err := l.Accept(); err == nil {
					test.serve(c)
				}
			}()
			_, err = client.Dial(t.Context(), client.Options{
				Address: l.Addr().String(), User: "web", Signers: []ssh.Signer{ada}, HostKey: ssh.InsecureIgnoreHostKey(), Timeout: 200 * time.Millisecond,
			})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), l.Addr().String()) || errors.Is(err, client.ErrLogin) {
				t.Errorf("%v", err)
			}
		})
	}
	_, err := client.Dial(t.Context(), client.Options{Address: porttest.Reserve(t), User: "web", Signers: []ssh.Signer{ada}, HostKey: ssh.InsecureIgnoreHostKey()})
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("nothing listens: %v", err)
	}
}

func TestDialCancelled(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { // ends with the client
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		cancel(why)
		io.Copy(io.Discard, c)
		c.Close()
	}()
	_, err = client.Dial(ctx, client.Options{Address: l.Addr().String(), User: "web", Signers: []ssh.Signer{ada}, HostKey: ssh.InsecureIgnoreHostKey()})
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestOptions(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	good := client.Options{Address: "127.0.0.1:1", User: "web", Signers: []ssh.Signer{ada}, HostKey: ssh.InsecureIgnoreHostKey()}
	for _, test := range []struct {
		name   string
		change func(*client.Options)
		want   string
	}{
		{"no user", func(o *client.Options) { o.User = "" }, "user"},
		{"no keys", func(o *client.Options) { o.Signers = nil }, "no key"},
		{"nothing checks", func(o *client.Options) { o.HostKey = nil }, "host key"},
	} {
		o := good
		test.change(&o)
		if _, err := client.Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[31mb\r\nc\td\x00\u0085\xffä")
	f.Fuzz(func(t *testing.T, text string) {
		got := client.Printable(text)
		for _, r := range got {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Errorf("%q became %q", text, got)
			}
		}
		if again := client.Printable(got); again != got {
			t.Errorf("%q became %q, then %q", text, got, again)
		}
	})
}
