package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestExec runs commands without a terminal: with separate streams, an exit status and a signal.
func TestExec(t *testing.T) {
	t.Parallel()
	drains := threeDrains(t)
	v := newSite(t, entries(drains)).serve()
	for _, test := range []struct {
		name, command, stdin string
		status               int
	}{
		{"both streams", `read line; head -c 200000 /dev/urandom; echo "it was $line"; head -c 100000 /dev/urandom >&2; exit 42`, "from the client\n", 42},
		{"nothing", "true", "", 0},
		{"input to its end", "cat; echo done >&2", strings.Repeat("0123456789\x00\xff\r\n", 500), 0},
		{"no such command", "no-such-command", "", 127},
		{"killed", "echo before; kill -TERM $$", "", 143},
	} {
		cmd := v.openssh(v.site.key, "web@127.0.0.1", test.command)
		cmd.Stdin = strings.NewReader(test.stdin)
		got := runTo(t, cmd)
		status := test.status
		if status > 128 {
			status = 255 // OpenSSH's client has no status of a command that a signal ended
		}
		if got.status != status {
			t.Errorf("%s: exit status %d, want %d: %.500q", test.name, got.status, status, got.stderr)
		}
		operation := operationOf(t, []byte(got.stderr))
		for _, d := range drains {
			s := d.transcript(t, operation)
			if d.exact {
				mustBe(t, d.name, test.name+": standard output", s.stdout, []byte(got.stdout))
				mustBe(t, d.name, test.name+": standard error", s.stderr, []byte(got.stderr))
			}
			if s.end.Reason != "exit" || s.end.ExitStatus == nil || *s.end.ExitStatus != test.status {
				t.Errorf("%s: drain %s: the end has exit status %v and reason %q", test.name, d.name, s.end.ExitStatus, s.end.Reason)
			}
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestExitSignal uses a client that reports the signal, which that of OpenSSH does not.
func TestExitSignal(t *testing.T) {
	t.Parallel()
	drain := httpsDrain(t, "json", "")
	v := newSite(t, withDrains(drain.entry)).serve()
	session, stderr := v.openSession()
	err := session.Run("kill -KILL $$")
	exit, ok := errors.AsType[*ssh.ExitError](err)
	if !ok || exit.Signal() != "KILL" || exit.ExitStatus() != 137 {
		t.Errorf("the command ended with %v", err)
	}
	s := drain.transcript(t, operationOf(t, stderr.Bytes()))
	if s.end.ExitStatus == nil || *s.end.ExitStatus != 137 || s.end.Reason != "exit" {
		t.Errorf("the end has exit status %v and reason %q", s.end.ExitStatus, s.end.Reason)
	}
	mustBe(t, drain.name, "standard error", s.stderr, stderr.Bytes())
}

// openSession opens a session with a client in this process, as Ada.
func (v *server) openSession() (session *ssh.Session, stderr *bytes.Buffer) {
	t := v.site.t
	t.Helper()
	data, err := os.ReadFile(v.site.key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", v.ssh)
	if err != nil {
		t.Fatal(err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, v.ssh, &ssh.ClientConfig{
		User: "web", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // of a server that this test has started
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, channels, requests)
	t.Cleanup(func() { client.Close() })
	if session, err = client.NewSession(); err != nil {
		t.Fatal(err)
	}
	stderr = new(bytes.Buffer)
	session.Stderr = stderr
	return session, stderr
}
