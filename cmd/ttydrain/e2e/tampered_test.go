package e2e

import (
	"runtime"
	"slices"
	"testing"
)

// TestTranscriptOfTampered checks that the other tests would find an incomplete copy.
func TestTranscriptOfTampered(t *testing.T) {
	t.Parallel()
	drain := httpsDrain(t, "json", "")
	v := newSite(t, withDrains(drain.entry)).serve()
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "seq 5; echo more >&2"))
	operation := operationOf(t, []byte(got.stderr))
	drain.transcript(t, operation)
	whole := drain.arrived(t, 0)
	slices.SortFunc(whole, func(a, b record) int { return int(a.Sequence) - int(b.Sequence) })

	failed := func(records []record) bool {
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() { // ends with the check, which a Fatalf ends early
			defer close(done)
			transcriptOf(r, "copy", records, operation, true)
		}()
		<-done
		return r.failed
	}
	if failed(slices.Clone(whole)) || failed(append(slices.Clone(whole), whole...)) {
		t.Fatal("a whole copy fails")
	}
	n := len(whole)
	for name, tamper := range map[string]func(c []record) []record{
		"no start":          func(c []record) []record { return c[1:] },
		"no end":            func(c []record) []record { return c[:n-1] },
		"a record missing":  func(c []record) []record { return slices.Delete(c, 3, 4) },
		"renumbered":        func(c []record) []record { c[3].Sequence, c[4].Sequence = c[4].Sequence, c[3].Sequence; return c },
		"bytes changed":     func(c []record) []record { c[4].Exact = []byte("X\n"); return c },
		"bytes moved":       func(c []record) []record { c[4].Exact, c[5].Exact = c[5].Exact, c[4].Exact; return c },
		"text changed":      func(c []record) []record { c[4].Text += "!"; return c },
		"digest changed":    func(c []record) []record { c[4].Digest = c[3].Digest; return c },
		"offset changed":    func(c []record) []record { c[4].Offset = "7"; return c },
		"timing too short":  func(c []record) []record { c[4].Timing = ""; return c },
		"another twin":      func(c []record) []record { twin := c[4]; twin.Whole += " "; return append(c, twin) },
		"a record added":    func(c []record) []record { extra := c[n-1]; extra.Sequence++; return append(c, extra) },
		"totals of another": func(c []record) []record { c[n-1].Digest = c[n-3].Digest; return c },
		"nothing":           func([]record) []record { return nil },
	} {
		if !failed(tamper(slices.Clone(whole))) {
			t.Errorf("%s: not found", name)
		}
	}
}

// A recorder is a test whose failure is expected.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }
