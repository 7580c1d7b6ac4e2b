package audit

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// FuzzCheck checks that the audit of any copy ends, and reports on every session exactly once.
func FuzzCheck(f *testing.F) {
	key := replaytest.Key(f)
	checker := &Checker{Keys: keySet(f, key)}
	s := replaytest.NewSession(f, key, "42", replaytest.Options{Pieces: 8, Gap: true})
	for _, form := range replaytest.Forms() {
		units := form.Write(f, s.Entries())
		f.Add(form.Join(units))
		f.Add(form.Join(append(units[:3:3], units[5:]...)))
	}
	f.Add([]byte(`{"operation_id":"1","event":"end","sequence":18446744073709551615}{"operation_id":"1","event":"gap","sequence":0,"last_sequence":18446744073709551615}`))
	f.Add([]byte(`{"operation_id":"1","event":"gap","sequence":3,"last_sequence":1}{"operation_id":"1","event":"output","sequence":18446744073709551614}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		results, _ := audited(t, checker, data)
		for id, r := range results {
			if r.Verdict == Damaged == (r.Complete && r.Intact) && r.Verdict != Incomplete || len(r.Findings) > maxFindings {
				t.Fatalf("%s: %+v", id, r)
			}
			for _, f := range r.Findings {
				if f.What == "" || f.First > f.Last {
					t.Fatalf("%s: %+v", id, f)
				}
			}
		}
	})
}
