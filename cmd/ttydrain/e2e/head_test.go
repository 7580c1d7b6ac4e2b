package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
)

// TestHead closes the output of OpenSSH's client, as "| head -2" does: the session ends, with the
// reason in its end record.
func TestHead(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	t.Run("sandbox", func(t *testing.T) {
		t.Parallel()
		drain := httpsDrain(t, "https", ", format: ndjson")
		testHead(t, drain, newSite(t, withDrains(drain.entry)))
	})
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		drain := httpsDrain(t, "https", ", format: ndjson")
		site := newSite(t, withDrains(drain.entry))
		site.inContainers(dockertest.StartOwn(t), "image: '"+dockertest.Image+"'")
		testHead(t, drain, site)
	})
}

func testHead(t *testing.T, drain *destination, site *site) {
	const slow = `for i in $(seq 1000000); do echo $i; sleep 0.2; done`
	// Until it notices, the client accepts its whole window of 2 MiB, and every line becomes a record:
	// lines of "y" would be a million records, which take minutes to deliver under -race.
	much := "exec yes " + strings.Repeat("y", 1000)
	v := site.serve()
	for _, test := range []struct {
		name, command string
		options       []string
		status        int // of the command, which a signal ends
	}{
		{"a command that writes little", slow, nil, 141},
		{"a command that writes much", much, nil, 141},
		{"on a terminal", slow, []string{"-tt"}, 129},
		{"much on a terminal", much, []string{"-tt"}, 129},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := v.openssh(site.key, append(append([]string{"-n"}, test.options...), "web@127.0.0.1", test.command)...)
		var stderr output
		cmd.Stdout, cmd.Stderr = w, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		head := bufio.NewReaderSize(r, 1024)
		shown := ""
		for range 5 { // of a terminal, three are the banner's
			line, err := head.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v: %s", test.name, err, &stderr)
			}
			shown += line
		}
		r.Close()
		mustEnd(t, cmd, test.name)
		banner := stderr.String()
		if len(test.options) > 0 {
			banner = shown
		}
		operation := operationOf(t, []byte(banner))
		// Bounded, unlike transcript's own wait, which goes on for as long as records arrive.
		await(t, test.name+": for the end record at the drain", func() bool { return drain.ends(t)[operation] })
		s := drain.transcript(t, operation)
		if s.end.Reason != "output closed" || s.end.ExitStatus == nil || *s.end.ExitStatus != test.status {
			t.Errorf("%s: the end has reason %q and exit status %v", test.name, s.end.Reason, s.end.ExitStatus)
		}
		if n := len(s.stdout); n > 64<<20 {
			t.Errorf("%s: %d bytes are recorded", test.name, n)
		}
	}
}

// mustEnd waits for a client that has to end by itself.
func mustEnd(t *testing.T, cmd *exec.Cmd, name string) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		cmd.Process.Kill()
		<-ended
		t.Fatalf("%s: the client did not end", name)
	}
}
