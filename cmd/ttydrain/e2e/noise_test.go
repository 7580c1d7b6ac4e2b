package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

// TestNoise shows 20 MB of output that recorders get wrong, in a terminal that changes none of it.
func TestNoise(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	need(t, "python3")
	const megabytes = 20
	drains := allDrains(t)[1:] // the first gets what the second gets
	v := newSite(t, entries(drains), withEnv("NOISE", testFile(t, "noise.py")), withoutRaces).serve()
	client := inTerminal(t, v.openssh(v.site.key, "-tt", "web@127.0.0.1",
		fmt.Sprintf(`stty raw -echo; python3 -c "$NOISE" %d`, megabytes)))
	shown, status := client.wait()
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
	before, told, ok := bytes.Cut(shown[max(0, len(shown)-200):], []byte("\r\r\nsum:"))
	told, _, ok2 := bytes.Cut(told, []byte("\r\n"))
	if !ok || !ok2 {
		t.Fatalf("the output does not end with its digest: %q", shown[max(0, len(shown)-200):])
	}
	end := max(0, len(shown)-200) + len(before)
	if sum := sha256.Sum256(shown[max(0, end-megabytes<<20):end]); hex.EncodeToString(sum[:]) != string(told) {
		t.Error("the client did not show what the program wrote")
	}

	operation := operationOf(t, shown)
	first := drains[0].transcript(t, operation)
	for _, d := range drains {
		awaitWhile(t, "for the drain "+d.name+" to take everything", func() bool { return v.delivered(d.name) >= len(first.records) },
			func() int { return v.delivered(d.name) })
		s := transcriptOf(t, d.name, d.arrived(t, len(first.records)), operation, d.exact)
		if d.exact {
			mustBe(t, d.name, "the output", s.shown, shown)
		}
		if len(s.records) != len(first.records) {
			t.Errorf("drain %s has %d records, and %s has %d", d.name, len(s.records), drains[0].name, len(first.records))
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
