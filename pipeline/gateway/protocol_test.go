package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func refuseAll(context.Context, session.Request, session.IO) (session.Exit, error) {
	return session.Exit{}, fmt.Errorf("limits: %w", &session.Refusal{Message: "one at a time\nend the other first"})
}

// raw opens a session channel without the library's session type.
func raw(t testing.TB, client *ssh.Client) (ssh.Channel, <-chan *ssh.Request) {
	t.Helper()
	ch, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	return ch, requests
}

func TestExitSignal(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	for command, want := range map[string]struct {
		signal string
		status int
	}{
		"kill -TERM $$": {"TERM", 143},
		"kill -BUS $$":  {"BUS@ttydrain", 128}, // the library exports no constant for it
		"exit 9":        {"", 9},
	} {
		sess, err := s.dial("web", s.ada).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		exit, ok := errors.AsType[*ssh.ExitError](sess.Run(command))
		if !ok || exit.Signal() != want.signal || exit.ExitStatus() != want.status {
			t.Errorf("%s: %v", command, exit)
		}
	}
}

// TestSingleExitRequest: however its session ends, a channel receives exactly one of exit-status
// and exit-signal, then end of file and close.
func TestSingleExitRequest(t *testing.T) {
	for _, test := range []struct {
		name string
		exit session.Exit
		err  error
		want string
	}{
		{"status", session.Exit{Status: 3}, nil, "exit-status"},
		{"success", session.Exit{}, nil, "exit-status"},
		{"signal", session.Exit{Status: 137, Signal: "KILL"}, nil, "exit-signal"},
		{"signal of no standard name", session.Exit{Status: 135, Signal: "BUS", CoreDumped: true}, nil, "exit-signal"},
		{"ended by the gateway", session.Exit{Status: 137, Reason: session.ReasonKilled}, nil, "exit-status"},
		{"refused", session.Exit{Status: 137, Signal: "KILL"}, &session.Refusal{Message: "no"}, "exit-status"},
		{"failed", session.Exit{Status: 137, Signal: "KILL"}, errors.New("a fault"), "exit-status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, runs(func(context.Context, session.Request, session.IO) (session.Exit, error) { return test.exit, test.err }))
			ch, requests := raw(t, s.dial("web", s.ada))
			go io.Copy(io.Discard, ch.Stderr())
			if ok, err := ch.SendRequest("shell", true, nil); !ok {
				t.Fatalf("shell: %v", err)
			}
			var got []string
			for req := range requests { // closed by the close
				got = append(got, req.Type)
				if req.WantReply {
					t.Errorf("%s wants a reply", req.Type)
				}
			}
			if !slices.Equal(got, []string{test.want}) {
				t.Errorf("requests %v, expected %s", got, test.want)
			}
			if rest, err := io.ReadAll(ch); len(rest) > 0 || err != nil {
				t.Errorf("rest: %q, %v", rest, err)
			}
		})
	}
}

func TestSignalRequest(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	sess, err := s.dial("web", s.ada).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := sess.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sess.Start("trap 'echo got; exit 3' USR1; echo ready; sleep 1000 & wait"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := sess.Signal(ssh.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(stdout); string(text) != "got\n" {
		t.Errorf("output %q", text)
	}
	if exit, ok := errors.AsType[*ssh.ExitError](sess.Wait()); !ok || exit.ExitStatus() != 3 {
		t.Errorf("exit %v", exit)
	}
}

// TestMalformed sends every request with every malformed payload. None may disturb the connection.
func TestMalformed(t *testing.T) {
	started := make(chan session.Request, 100)
	s := serve(t, runs(func(ctx context.Context, req session.Request, _ session.IO) (session.Exit, error) {
		started <- req
		<-ctx.Done()
		return session.Exit{}, context.Cause(ctx)
	}))
	client := s.dial("web", s.ada)
	payloads := [][]byte{nil, {0}, {0, 0, 0}, []byte("\xff\xff\xff\xffx"), words("x\x00y"), words("a", "b", "c"),
		bytes.Repeat([]byte{0}, 100), bytes.Repeat([]byte{255}, 30000), words(strings.Repeat("x", 200<<10))}
	for _, name := range []string{"pty-req", "window-change", "env", "signal", "x11-req", "auth-agent-req@openssh.com", "break", "", "\x00\xff", "xon-xoff", "exit-status"} {
		ch, requests := raw(t, client)
		go ssh.DiscardRequests(requests)
		for _, payload := range payloads {
			if ok, err := ch.SendRequest(name, true, payload); ok || err != nil {
				t.Errorf("%s %.20q: %t, %v", name, payload, ok, err)
			}
		}
		ch.Close()
	}
	for _, name := range []string{"exec", "subsystem"} {
		for _, payload := range payloads {
			ch, requests := raw(t, client)
			statuses := make(chan string, 1)
			go func() {
				for req := range requests {
					if req.Type == "exit-status" {
						statuses <- string(req.Payload)
					}
					req.Reply(false, nil)
				}
			}()
			if ok, err := ch.SendRequest(name, true, payload); ok || err != nil {
				t.Errorf("%s %.20q: %t, %v", name, payload, ok, err)
			}
			if text, _ := io.ReadAll(ch.Stderr()); !strings.HasPrefix(string(text), "ttydrain: ") {
				t.Errorf("%s %.20q: message %q", name, payload, text)
			}
			if status := wait(t, statuses, "the status"); status != "\x00\x00\x00\x01" {
				t.Errorf("%s %.20q: status %x", name, payload, status)
			}
			ch.Close()
		}
	}
	select {
	case req := <-started:
		t.Errorf("started %+v", req)
	default:
	}
	// Afterwards, the connection still works normally.
	ch, requests := raw(t, client)
	go ssh.DiscardRequests(requests)
	if ok, err := ch.SendRequest("exec", true, words("x")); !ok {
		t.Fatal(err)
	}
	if req := wait(t, started, "the session"); req.Command != "x" || req.Terminal != nil || len(req.Env) > 0 {
		t.Errorf("request %+v", req)
	}
}

// TestOnlyOneProgram: later requests are refused after the start, except for those for a running
// program.
func TestOnlyOneProgram(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	ch, requests := raw(t, s.dial("web", s.ada))
	go ssh.DiscardRequests(requests)
	for _, step := range []struct {
		name    string
		payload []byte
		want    bool
	}{
		{"window-change", windowChange(80, 24), false}, // there is no terminal yet
		{"pty-req", ptyRequest("xterm", 80, 24, ""), true},
		{"window-change", windowChange(100, 30), true},
		{"env", words("LC_X", "1"), true},
		{"env", words("LD_PRELOAD", "1"), false},
		{"exec", words("sleep 1000"), true},
		{"exec", words("true"), false},
		{"shell", nil, false},
		{"subsystem", words("sftp"), false},
		{"pty-req", ptyRequest("xterm", 80, 24, ""), false},
		{"env", words("LC_Y", "1"), false},
		{"auth-agent-req@openssh.com", nil, false},
		{"window-change", windowChange(90, 30), true},
		{"signal", words("USR2"), true},
	} {
		if ok, err := ch.SendRequest(step.name, true, step.payload); ok != step.want || err != nil {
			t.Errorf("%s: %t, %v", step.name, ok, err)
		}
	}
	ch.Close()
}

func TestChannelTypes(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	client := s.dial("web", s.ada)
	for kind, want := range map[string]struct {
		reason   ssh.RejectionReason
		sentence string
	}{
		"direct-tcpip":                   {ssh.Prohibited, noForwarding},
		"direct-streamlocal@openssh.com": {ssh.Prohibited, noForwarding},
		"x11":                            {ssh.Prohibited, noX11},
		"auth-agent@openssh.com":         {ssh.Prohibited, noAgent},
		"tun@openssh.com":                {ssh.Prohibited, noTunnel},
		"whatever":                       {ssh.UnknownChannelType, "unknown"},
	} {
		_, _, err := client.OpenChannel(kind, []byte("x"))
		refused, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refused.Reason != want.reason || !strings.Contains(refused.Message, want.sentence) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for kind, want := range map[string]bool{"keepalive@openssh.com": false, "tcpip-forward": false, "": false, "no-more-sessions@openssh.com": true} {
		if ok, _, err := client.SendRequest(kind, true, []byte{0}); ok != want || err != nil {
			t.Errorf("%s: %t, %v", kind, ok, err)
		}
	}
	if _, _, err := client.OpenChannel("session", nil); err == nil || !strings.Contains(err.Error(), "no more sessions") {
		t.Errorf("a session more: %v", err)
	}
}

func TestRequestLimits(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells, func(o *Options) { o.Limits.MaxSessions, o.Limits.MaxConnections = 2, 2 })
	client := s.dial("web", s.ada)
	first, requests := raw(t, client)
	go ssh.DiscardRequests(requests)
	_, requests2 := raw(t, client)
	go ssh.DiscardRequests(requests2)
	_, _, err := client.OpenChannel("session", nil)
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refused.Reason != ssh.ResourceShortage || !strings.Contains(refused.Message, "too many sessions") {
		t.Errorf("a third session: %v", err)
	}
	// The place of an ended session is free: the gateway has processed the end when it confirms it.
	if ok, err := first.SendRequest("exec", true, words("true")); !ok {
		t.Fatal(err)
	}
	io.Copy(io.Discard, first)
	for {
		ch, requests, err := client.OpenChannel("session", nil)
		if err == nil {
			go ssh.DiscardRequests(requests)
			ch.Close()
			break
		}
		if !strings.Contains(err.Error(), "too many sessions") {
			t.Fatal(err)
		}
	}

	other := s.dial("web", s.ada)
	if text := refusal(t, s.address); text != "ttydrain: too many connections; try again later\r\n" {
		t.Errorf("a third connection got %q", text)
	}
	other.Close()
}

// refusal returns the gateway's message on a refused connection.
func refusal(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, _ := io.ReadAll(c)
	return string(text)
}

func TestVersion(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	if got := string(s.dial("web", s.ada).ServerVersion()); got != "SSH-2.0-OpenSSH_9.9 ttydrain" {
		t.Errorf("version %q", got)
	}
}

// TestErrors: a refusal is for the user, any other error for the log.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name      string
		err       error
		said, not string
		logged    bool
	}{
		{"refusal", fmt.Errorf("x: %w", &session.Refusal{Message: "no more\nthan one"}), "ttydrain: no more\r\nthan one\r\n", "x:", false},
		{"other", errors.New("the disk's name is full"), "error in the gateway", "disk", true},
		{"stop", fmt.Errorf("x: %w", session.ErrShutdown), "connect again", "x:", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, runs(func(context.Context, session.Request, session.IO) (session.Exit, error) {
				return session.Exit{Status: 3, Signal: "HUP"}, test.err
			}))
			sess, err := s.dial("web", s.ada).NewSession()
			if err != nil {
				t.Fatal(err)
			}
			if err := sess.RequestPty("xterm", 24, 80, nil); err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			sess.Stderr = &stderr
			exit, ok := errors.AsType[*ssh.ExitError](sess.Run("x"))
			if !ok || exit.ExitStatus() != 255 || exit.Signal() != "" {
				t.Errorf("exit %v", exit)
			}
			text := stderr.String()
			if !strings.Contains(text, test.said) || strings.Contains(text, test.not) || strings.Count(text, "\n") != strings.Count(text, "\r\n") {
				t.Errorf("said %q", text)
			}
			if log := s.log.String(); strings.Contains(log, "level=ERROR") != test.logged || strings.Contains(log, "disk") != test.logged {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// TestSecretsAreNotLogged searches the log for everything that a session contains.
func TestSecretsAreNotLogged(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	sess, err := s.dial("web", s.ada).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	sess.Setenv("LC_TEST", "hush-value")
	sess.Setenv("OTHER", "hush-refused")
	sess.Stdin = strings.NewReader("hush-input\n")
	out, err := sess.Output("echo hush-command; cat")
	if err != nil || string(out) != "hush-command\nhush-input\n" {
		t.Fatalf("%q, %v", out, err)
	}
	s.dial("web", s.bob).Conn.OpenChannel("direct-tcpip", []byte("hush-address"))
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	if strings.Contains(log, "hush") {
		t.Errorf("a secret in the log:\n%s", log)
	}
	for _, want := range []string{"logged in", "app=web", "user=u-1", "user=u-2", ssh.FingerprintSHA256(s.ada.PublicKey()), "logged out"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
}

// TestLatestSize: a session that does not read sizes misses some, but never the last, and blocks
// nothing.
func TestLatestSize(t *testing.T) {
	look, sizes := make(chan struct{}), make(chan session.Size, 1)
	s := serve(t, runs(func(_ context.Context, req session.Request, io session.IO) (session.Exit, error) {
		<-look
		sizes <- <-io.Resize
		return session.Exit{}, nil
	}))
	ch, requests := raw(t, s.dial("web", s.ada))
	go ssh.DiscardRequests(requests)
	ch.SendRequest("pty-req", true, ptyRequest("xterm", 80, 24, ""))
	ch.SendRequest("shell", true, nil)
	for i := range 1000 {
		if _, err := ch.SendRequest("window-change", false, windowChange(uint32(i+1), 50)); err != nil {
			t.Fatal(err)
		}
		ch.SendRequest("signal", false, words("HUP"))
	}
	// The response to this follows the processing of all earlier ones.
	if ok, err := ch.SendRequest("env", true, words("LC_X", "1")); ok || err != nil {
		t.Fatalf("%t, %v", ok, err)
	}
	close(look)
	if size := wait(t, sizes, "the size"); size != (session.Size{Width: 1000, Height: 50, PixelWidth: 640, PixelHeight: 480}) {
		t.Errorf("size %v", size)
	}
}

// TestCloseOutput: the session learns that the client accepts no more output, however often and
// early the client declares it.
func TestCloseOutput(t *testing.T) {
	s := serve(t, runs(func(_ context.Context, _ session.Request, io session.IO) (session.Exit, error) {
		<-io.OutputClosed
		return session.Exit{Status: 141, Signal: "PIPE"}, nil
	}))
	for _, early := range []bool{false, true} {
		ch, requests := raw(t, s.dial("web", s.ada))
		steps := []string{"shell", "eow@openssh.com", "eow@openssh.com"}
		if early {
			steps = []string{"eow@openssh.com", "eow@openssh.com", "shell"}
		}
		for _, step := range steps {
			if _, err := ch.SendRequest(step, false, nil); err != nil && !errors.Is(err, io.EOF) { // which the end may precede
				t.Fatal(err)
			}
		}
		if req, ok := <-requests; !ok || req.Type != "exit-signal" {
			t.Errorf("the session did not end: %v", req)
		}
	}
}

// TestChannelCloseCancels closes one of two sessions; the other continues.
func TestChannelCloseCancels(t *testing.T) {
	shells := sessiontest.NewShells()
	s := serve(t, shells)
	client := s.dial("web", s.ada)
	first, requests := raw(t, client)
	go ssh.DiscardRequests(requests)
	first.SendRequest("exec", true, words("sleep 1000"))
	second, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdin, _ := second.StdinPipe()
	stdout, _ := second.StdoutPipe()
	if err := second.Start("cat"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if cause := wait(t, shells.Causes, "the cause"); !errors.Is(cause, session.ErrDisconnected) {
		t.Errorf("cause %v", cause)
	}
	io.WriteString(stdin, "still here")
	stdin.Close() // arrives at cat as the end of its input
	if text, _ := io.ReadAll(stdout); string(text) != "still here" {
		t.Errorf("second session: %q", text)
	}
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	key, _ := newKey(t)
	good := Options{HostKeys: []ssh.Signer{key}, Authorizer: people{}, Sessions: sessiontest.NewShells()}
	if _, err := New(good); err != nil {
		t.Errorf("good: %v", err)
	}
	bad := good
	bad.HostKeys, bad.AcceptEnv, bad.Version, bad.StopTimeout, bad.Limits.MaxSessions = nil, []string{"LC_["}, "ttydrain", -1, -2
	_, err := New(bad)
	if err == nil {
		t.Fatal("bad options accepted")
	}
	for _, want := range []string{"host key", `"LC_["`, `"ttydrain"`, "stop timeout", "sessions per connection"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "authorizer") || !strings.Contains(err.Error(), "sessions") {
		t.Errorf("empty: %v", err)
	}
}

func TestServeTwiceAndBrokenListener(t *testing.T) {
	s := newStand(t, sessiontest.NewShells())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Serve(t.Context(), l); err == nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("broken listener: %v", err)
	}
	if err := s.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "before") {
		t.Errorf("second time: %v", err)
	}
}
