package e2e

import (
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestLoadBalancer puts a load balancer in front of a syslog server that is down while a session is
// delivered. The balancer accepts connections. Once the server is up, all records arrive, without
// another session.
func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	rsyslog := syslogtest.StartRsyslog(t, syslogtest.Options{})
	address := syslogtest.StartHAProxy(t, rsyslog)
	d := syslogDrain(t, "log", rsyslog, true)
	d.entry = strings.Replace(d.entry, rsyslog.Address, address, 1)
	v := newSite(t, withDrains(d.entry)).serve()
	rsyslog.Stop(t)
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "seq 100"))
	if got.status != 0 {
		t.Fatalf("a session while the server is down: %+v", got)
	}
	v.awaitStatus(d, func(s operate.DrainStatus) bool { return s.State == schema.DrainRetrying })
	rsyslog.Start(t)
	operation := operationOf(t, []byte(got.stderr))
	mustBe(t, d.name, "a session from before", d.transcript(t, operation).stdout, []byte(got.stdout))
	v.awaitStatus(d, func(s operate.DrainStatus) bool { return s.State == schema.DrainDelivering })
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
