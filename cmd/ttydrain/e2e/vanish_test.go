package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A remotePlace is a network namespace with a link to this one.
type remotePlace struct {
	t    testing.TB
	name string
	// here and there are the addresses of the ends of the link.
	here, there string
}

// newRemotePlace makes a network namespace; net is the third number of its addresses, which are in
// the range for benchmarks (RFC 2544), and different for each test.
func newRemotePlace(t testing.TB, net int) *remotePlace {
	t.Helper()
	need(t, "ip")
	if os.Getuid() != 0 {
		absent(t, "making network namespaces takes root")
	}
	suffix := strings.ToLower(rand.Text()[:8])
	p := &remotePlace{t, "ttydrain-" + suffix, fmt.Sprintf("198.18.%d.1", net), fmt.Sprintf("198.18.%d.2", net)}
	link := "td" + suffix
	if got := runTo(t, exec.Command("ip", "netns", "add", p.name)); got.status != 0 {
		absent(t, "no network namespace can be made: "+got.stderr)
	}
	t.Cleanup(func() { p.ip("netns", "delete", p.name) })
	p.ip("link", "add", link, "type", "veth", "peer", "name", "wire", "netns", p.name)
	t.Cleanup(func() { p.ip("link", "delete", link) })
	p.ip("address", "add", p.here+"/30", "dev", link)
	p.ip("link", "set", link, "up")
	p.ip("-n", p.name, "address", "add", p.there+"/30", "dev", "wire")
	p.ip("-n", p.name, "link", "set", "wire", "up")
	return p
}

func (p *remotePlace) ip(args ...string) {
	p.t.Helper()
	if got := runTo(p.t, exec.Command("ip", args...)); got.status != 0 {
		p.t.Fatalf("ip %s: %s%s", strings.Join(args, " "), got.stdout, got.stderr)
	}
}

// cut removes the link, without notice to either end.
func (p *remotePlace) cut() { p.t.Helper(); p.ip("-n", p.name, "link", "set", "wire", "down") }

// inside returns a command that runs in the namespace.
func (p *remotePlace) inside(cmd *exec.Cmd) *exec.Cmd {
	p.t.Helper()
	there := exec.Command(need(p.t, "ip"), append([]string{"netns", "exec", p.name}, cmd.Args...)...)
	there.Env = cmd.Env
	return there
}

// runs reports whether a process has the text among its arguments.
func runs(t testing.TB, text string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte(text)) && !bytes.Contains(data, []byte("ssh")) {
			return true
		}
	}
	return false
}

// TestVanishedClient cuts the network of a client: its session is killed, with everything that it
// started, without a hangup.
func TestVanishedClient(t *testing.T) {
	t.Parallel()
	for i, test := range []struct{ name, before string }{
		{"silent", ""},
		{"printing", "while sleep 0.05; do head -c 100000 /dev/zero | tr '\\0' y; done & "}, // writes that wait for the network
	} {
		t.Run(test.name, func(t *testing.T) {
			place := newRemotePlace(t, 200+i)
			drain := httpsDrain(t, "siem", ", format: ndjson")
			v := newSite(t, withDrains(drain.entry), withListen(place.here+":0"), withGateway(", keepalive_interval: 1s, keepalive_count: 3")).serve()
			mark := fmt.Sprintf("%d.%d", 4_000_000+os.Getpid(), i)
			client := inTerminal(t, place.inside(v.openssh(v.site.key, "-t", "web@"+place.here,
				test.before+"setsid sleep "+mark+" & echo in; exec sleep "+mark)))
			client.expect("in\r\n")
			await(t, "for the session's processes", func() bool { return runs(t, "sleep\x00"+mark) })
			client.mu.Lock()
			operation := operationOf(t, client.shown)
			client.mu.Unlock()
			place.cut()
			await(t, "for the session to be killed", func() bool { return !runs(t, "sleep\x00"+mark) })
			if end := drain.transcript(t, operation).end; end.Reason != "disconnect" {
				t.Errorf("the session ended because of %q", end.Reason)
			}
			if test.before == "" { // otherwise the kernel can notice first the one that notices
				await(t, "for the log to tell why", func() bool { return len(v.logged("connection cut", "silence")) == 1 })
			}
		})
	}
}

// TestPatientClient: a client that sends nothing for longer than the deadline keeps its session,
// since it answers.
func TestPatientClient(t *testing.T) {
	t.Parallel()
	v := newSite(t, withGateway(", keepalive_interval: 1s, keepalive_count: 2")).serve()
	if got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "sleep 5; echo out")); got.status != 0 || got.stdout != "out\n" {
		t.Errorf("%+v", got)
	}
}
