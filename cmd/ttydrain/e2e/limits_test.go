package e2e

import (
	"io"
	"net"
	"strings"
	"testing"
)

// TestLimitsOfSSH: the limits of the configuration hold, and a reload changes them.
func TestLimitsOfSSH(t *testing.T) {
	t.Parallel()
	site := newSite(t, withGateway(", per_source_max_startups: 2"))
	v := site.serve()
	connect := func() (start string) {
		t.Helper()
		c, err := net.Dial("tcp", v.ssh)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		buf := make([]byte, 4)
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
		if start = string(buf); start == "SSH-" {
			return start
		}
		rest, _ := io.ReadAll(c)
		return start + string(rest)
	}
	for range 2 {
		if got := connect(); got != "SSH-" {
			t.Fatalf("the gateway says %q", got)
		}
	}
	if got := connect(); !strings.Contains(got, "too many connections from your address") {
		t.Errorf("the third of two connections: %q", got)
	}
	if n := v.metric(`ttydrain_ssh_connections_refused_total{reason="per_source_max_startups"}`); n != 1 {
		t.Errorf("%g refusals are counted", n)
	}
	v.reload(reloadOK, func() { site.edit("per_source_max_startups: 2", "per_source_max_startups: 3") })
	if got := connect(); got != "SSH-" {
		t.Errorf("after the limit was raised: %q", got)
	}
	if n := v.metric(`ttydrain_ssh_connections{state="starting"}`); n != 3 {
		t.Errorf("%g connections are starting", n)
	}
}
