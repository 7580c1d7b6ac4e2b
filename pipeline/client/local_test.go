package client_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

func TestApps(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	g := clienttest.StartGateway(t, []ssh.PublicKey{ada.PublicKey()})
	o := client.Options{Address: g.Address, User: gateway.NoApp, Signers: []ssh.Signer{ada}, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey())}
	var stderr bytes.Buffer
	apps, status, err := dial(t, o).Apps(t.Context(), nil, &stderr)
	if err != nil || status != 0 || strings.Join(apps, " ") != clienttest.App {
		t.Errorf("apps %q, status %d, %v: %s", apps, status, err, &stderr)
	}
}

// localSession is a command that runs in this process's name.
type localSession struct {
	output  *bufio.Scanner
	results <-chan result
}

// startLocal runs a command with a client.Local that has one end of a pipe or a terminal.
func startLocal(t *testing.T, c *client.Client, command string, stdin, stdout *os.File, output *os.File) localSession {
	t.Helper()
	signals := client.CatchSignals()
	t.Cleanup(signals.Stop)
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	local := client.Local{Stdin: stdin, Stdout: stdout, Stderr: stdout, Signals: signals, Cancel: cancel}
	results := make(chan result, 1)
	go func() { // ends with the session
		status, err := local.Run(ctx, c, command, nil)
		results <- result{status, err}
	}()
	return localSession{bufio.NewScanner(output), results}
}

func (s localSession) await(t *testing.T, line string) {
	t.Helper()
	for s.output.Scan() {
		if strings.TrimSpace(s.output.Text()) == line {
			return
		}
	}
	t.Fatalf("the output ended without %q: %v", line, s.output.Err())
}

func interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// TestLocalPassesSignals holds that a session without a terminal gets two signals, and that the
// third one ends it.
func TestLocalPassesSignals(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c, _ := dialGateway(t)
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	defer to.Close()
	s := startLocal(t, c, "n=0; trap 'n=$((n+1)); echo $n' INT; echo ready; while :; do sleep 0.01; done", null, to, from)
	for _, line := range []string{"ready", "1", "2"} {
		s.await(t, line)
		interrupt(t)
	}
	if r := clienttest.Wait(t, s.results, "the end"); !errors.Is(r.err, client.EndedBy(syscall.SIGINT)) {
		t.Errorf("status %d, %v", r.status, r.err)
	}
}

// TestLocalOnTerminal holds that a session on a terminal has one of the same size, in raw mode as
// long as it runs, and that a signal ends it.
func TestLocalOnTerminal(t *testing.T) {
	outside, inside, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	defer inside.Close()
	if err := pty.Setsize(outside, &pty.Winsize{Rows: 33, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(inside.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := dialGateway(t)
	s := startLocal(t, c, "stty size; echo ready; exec sleep 1000", inside, inside, outside)
	s.await(t, "33 77")
	s.await(t, "ready")
	if during, err := term.GetState(int(inside.Fd())); err != nil || *during == *before {
		t.Errorf("the terminal is not in raw mode: %v", err)
	}
	interrupt(t)
	if r := clienttest.Wait(t, s.results, "the end"); !errors.Is(r.err, client.EndedBy(syscall.SIGINT)) {
		t.Errorf("status %d, %v", r.status, r.err)
	}
	if after, err := term.GetState(int(inside.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is not restored: %v", err)
	}
}

func TestConfirmHost(t *testing.T) {
	key, _ := clienttest.NewKey(t)
	unknown := &client.UnknownHostError{Address: "gateway.example.com:2222", Key: key.PublicKey()}
	failed := errors.New("no answer")
	for _, test := range []struct {
		answers []string // then failed
		want    error
	}{
		{[]string{"YES"}, nil},
		{[]string{"", "y", "yes"}, nil},
		{[]string{ssh.FingerprintSHA256(key.PublicKey())}, nil},
		{[]string{strings.ToLower(ssh.FingerprintSHA256(key.PublicKey()))}, failed},
		{[]string{"maybe", "no"}, client.ErrNotTrusted},
		{nil, failed},
	} {
		var prompts []string
		err := client.ConfirmHost(t.Context(), unknown, func(_ context.Context, prompt string) (string, error) {
			if prompts = append(prompts, prompt); len(prompts) > len(test.answers) {
				return "", failed
			}
			return test.answers[len(prompts)-1], nil
		})
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%q: %v, want %v", test.answers, err, test.want)
		}
		if !strings.Contains(prompts[0], ssh.FingerprintSHA256(key.PublicKey())) {
			t.Errorf("the prompt is %q, without the fingerprint", prompts[0])
		}
	}
}
