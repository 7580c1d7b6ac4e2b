package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/probe"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// secret is in a drain's settings, and may be in no output.
const secret = "SECRET-of-the-drain"

// TestDrainsTest makes a running ttydrain test drains that work, one that is paused, and one that
// is down.
func TestDrainsTest(t *testing.T) {
	t.Parallel()
	drains := threeDrains(t)
	dead := porttest.Reserve(t)
	v := newSite(t, entries(drains), withDrains(`{name: dead, type: https, url: "https://`+dead+`/"}`)).serve()
	run := func(args ...string) result {
		return runTo(t, exec.Command(v.site.program, append(args, "-c", v.site.config, "--admin", v.admin)...))
	}
	for _, d := range drains {
		got := run("drains", "test", d.name)
		if got.status != 0 || !strings.HasPrefix(got.stdout, "drain "+d.name+": accepted the test record of operation_id test-") ||
			!strings.Contains(got.stdout, "acceptance") || !strings.Contains(got.stdout, "✓ ok") {
			t.Errorf("drain %s: %+v", d.name, got)
			continue
		}
		line, _, _ := strings.Cut(got.stdout, "\n")
		operation := line[strings.LastIndex(line, " ")+1:]
		records := recordsOf(d.arrived(t, 1), operation)
		if len(records) != 1 || !schema.IsTest(operation) || records[0].Event != "output" || records[0].Sequence != 1 ||
			!strings.Contains(records[0].Text, "This is a test of the drain "+d.name+" by ttydrain, and of no session. It was asked for by ") {
			t.Errorf("drain %s got %+v", d.name, records)
		}
	}
	v.operate("drains", "pause", drains[0].name, "--yes")
	if got := run("drains", "test", drains[0].name); got.status != 0 || !strings.Contains(got.stdout, "note: the drain is paused") {
		t.Errorf("a drain that is paused: %+v", got)
	}
	got := run("drains", "test", "dead", "--output", "json")
	var report drain.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.status != 1 || report.OK || report.Steps[1].Result != probe.ResultFailed {
		t.Errorf("a drain that is dead: %v, %+v", err, got)
	}
	if got := run("drains", "test", "absent"); got.status != 1 || !strings.Contains(got.stderr, "no drain has this name") {
		t.Errorf("a drain that is not there: %+v", got)
	}
}

func recordsOf(all []record, operation string) (found []record) {
	for _, r := range all {
		if r.OperationID == operation {
			found = append(found, r)
		}
	}
	return found
}

// TestCheckThroughProxy uses a proxy that tunnels, one that refuses the user, and one that cannot
// reach the drain.
func TestCheckThroughProxy(t *testing.T) {
	t.Parallel()
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, time.Now().Add(90*24*time.Hour), "drain.example.com")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	drain := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	drain.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	drain.StartTLS()
	defer drain.Close()
	site := newSite(t, withDrains(fmt.Sprintf(`{name: siem, type: https, url: "https://drain.example.com/", ca_file: %q}`, authority.File)))
	for _, test := range []struct {
		status      int
		proxy, want string
	}{
		{200, "✓ ok", "drain siem: can be reached"},
		{407, "✗ failed", "do: correct the user and password in HTTPS_PROXY"},
		{502, "✗ failed", "do: look into the proxy's log, set proxy to none, or add the drain's host to NO_PROXY"},
	} {
		proxy := httptest.NewServer(tunnel(t, test.status, drain.Listener.Addr().String()))
		command := exec.Command(site.program, "check", "-c", site.config, "--connect")
		command.Env = append(os.Environ(), "HTTPS_PROXY="+strings.Replace(proxy.URL, "http://", "http://user:"+secret+"@", 1), "https_proxy=", "NO_PROXY=", "no_proxy=")
		got := runTo(t, command)
		proxy.Close()
		var step string
		for line := range strings.Lines(got.stdout) {
			if strings.HasPrefix(line, "  "+probe.Proxy) {
				step = line
			}
		}
		if (got.status == 0) != (test.status == 200) || !strings.Contains(step, test.proxy) || !strings.Contains(got.stdout, test.want) || strings.Contains(got.stdout+got.stderr, secret) {
			t.Errorf("a proxy that answers %d: status %d\n%s%s", test.status, got.status, got.stdout, got.stderr)
		}
	}
}

// tunnel returns a proxy that answers CONNECT with a status and, if that is 200, forwards bytes to
// the address.
func tunnel(t *testing.T, status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "drain.example.com:443" {
			t.Errorf("%s %s", r.Method, r.Host)
		}
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		drain, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer drain.Close()
		w.WriteHeader(status)
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		go func() { // ends when either connection is closed
			io.Copy(drain, buffered)
			drain.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(client, drain)
	}
}
