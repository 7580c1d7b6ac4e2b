package e2e

import (
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestDrainDown starts serve while three of its drains are down: the fourth works, and the three
// catch up.
func TestDrainDown(t *testing.T) {
	t.Parallel()
	up := httpsDrain(t, "up", "")
	address := porttest.Reserve(t)
	later, start := laterHTTPSDrain(t, "later", address, t.TempDir(), "")
	rsyslog := syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true})
	log := syslogDrain(t, "log", rsyslog, true)
	rsyslog.Stop(t)
	relp := syslogtest.StartRELP(t, syslogtest.Options{RequireClientCert: true}, "openssl")
	confirmed := syslogDrain(t, "confirmed", relp, true)
	confirmed.entry = strings.Replace(confirmed.entry, "type: syslog,", "type: syslog, protocol: relp,", 1)
	relp.Stop(t)

	v := newSite(t, withDrains(later.entry, up.entry, log.entry, confirmed.entry)).serve()
	sessions := make(map[string][]byte)
	for range 2 {
		got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "seq 300"))
		if got.status != 0 {
			t.Fatalf("a session while drains are down: %+v", got)
		}
		operation := operationOf(t, []byte(got.stderr))
		sessions[operation] = []byte(got.stdout)
		mustBe(t, up.name, "a session while others are down", up.transcript(t, operation).stdout, []byte(got.stdout))
	}
	if n := len(later.arrived(t, 0)) + len(log.arrived(t, 0)) + len(confirmed.arrived(t, 0)); n != 0 {
		t.Fatalf("%d records are at drains that are down", n)
	}

	start()
	rsyslog.Start(t)
	relp.Start(t)
	for _, d := range []*destination{later, log, confirmed} {
		for operation, shown := range sessions {
			mustBe(t, d.name, "a session from before", d.transcript(t, operation).stdout, shown)
		}
		// In order, and each once: undelivered records are not sent again after later ones.
		last := make(map[string]uint64)
		for _, r := range d.arrived(t, 0) {
			if r.Sequence != last[r.OperationID]+1 {
				t.Fatalf("drain %s: operation %s: record %d arrived behind record %d", d.name, r.OperationID, r.Sequence, last[r.OperationID])
			}
			last[r.OperationID] = r.Sequence
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
