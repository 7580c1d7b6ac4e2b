package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestParamiko opens sessions with paramiko: commands, input, a terminal, exit statuses, and a
// client that goes away.
func TestParamiko(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	if err := exec.Command(python, "-c", "import paramiko").Run(); err != nil {
		absent(t, "paramiko is not installed")
	}
	site := newSite(t, withoutRaces)
	v := site.serve()
	_, port, _ := strings.Cut(v.ssh, ":")
	mark := fmt.Sprint(300000000 + os.Getpid())
	cmd := exec.Command(python, filepath.Join("testdata", "session", "client.py"), port, site.key, mark)
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	v.goesAway(cmd, mark, &stderr)
	var got []struct {
		Status         int
		Stdout, Stderr string
	}
	if err := json.Unmarshal([]byte(stdout.String()), &got); err != nil || len(got) != 3 {
		t.Fatalf("%v: %s%s", err, &stdout, &stderr)
	}
	if g := got[0]; g.Status != 7 || g.Stdout != "out\nin\n" || !strings.HasSuffix(g.Stderr, "\nerr\n") || !strings.HasPrefix(g.Stderr, "ttydrain: operation ") {
		t.Errorf("a command: %+v", g)
	}
	if g := got[1]; g.Status != 8 || !strings.Contains(g.Stdout, "\r\n/dev/pts/") || !strings.HasSuffix(g.Stdout, "\r\n31 91\r\n") || g.Stderr != "" {
		t.Errorf("with a terminal: %+v", g)
	}
	if g := got[2]; g.Status != -1 { // which paramiko has for exit-signal without exit-status
		t.Errorf("a signal: %+v", g)
	}
}

// TestDropbear opens sessions with dropbear's client.
func TestDropbear(t *testing.T) {
	t.Parallel()
	dbclient, convert := need(t, "dbclient"), need(t, "dropbearconvert")
	site := newSite(t, withoutRaces)
	v := site.serve()
	_, port, _ := strings.Cut(v.ssh, ":")
	key := filepath.Join(site.dir, "ada.dropbear")
	if out, err := exec.Command(convert, "openssh", "dropbear", site.key, key).CombinedOutput(); err != nil {
		t.Fatalf("dropbearconvert: %v: %s", err, out)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(dbclient, append([]string{"-y", "-y", "-i", key, "-p", port}, args...)...)
		cmd.Env = []string{"HOME=" + site.dir, "PATH=" + os.Getenv("PATH"), "TERM=xterm"}
		return cmd
	}
	cmd := command("web@127.0.0.1", "echo out; cat; exit 7")
	cmd.Stdin = strings.NewReader("in\n")
	if r := runTo(t, cmd); r.status != 7 || r.stdout != "out\nin\n" || !strings.Contains(r.stderr, "ttydrain: operation ") {
		t.Errorf("a command: %+v", r)
	}
	shell := inTerminal(t, command("web@127.0.0.1"))
	shell.expect(prompt)
	shell.do("tty; stty size")
	shell.press("exit 8\r")
	if shown, status := shell.wait(); status != 8 || !strings.Contains(string(shown), "/dev/pts/") || !strings.Contains(string(shown), "\r\n30 100\r\n") {
		t.Errorf("with a terminal: status %d, %q", status, shown)
	}
	mark := fmt.Sprint(400000000 + os.Getpid())
	var stderr output
	cmd = command("web@127.0.0.1", "setsid sleep "+mark+" & wait")
	cmd.Stderr = &stderr
	v.goesAway(cmd, mark, &stderr)
}

// goesAway starts a client, kills it when its session has started a daemon with the mark, and waits
// until the daemon is gone and the session is recorded as ended by its client.
func (v *server) goesAway(cmd *exec.Cmd, mark string, stderr *output) {
	t := v.site.t
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the client
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	await(t, "for the session's daemon", func() bool {
		select {
		case <-ended:
			t.Fatalf("the client has ended: %s", stderr)
		default:
		}
		return running(t, mark)
	})
	cmd.Process.Kill()
	<-ended
	await(t, "for the session's daemon to end", func() bool { return !running(t, mark) })
	await(t, "for the end to be recorded", func() bool { return len(v.listed()) == 0 })
	if list := v.listed("--all"); list[0].Reason != "disconnect" {
		t.Errorf("the session is recorded as %+v", list[0])
	}
}
