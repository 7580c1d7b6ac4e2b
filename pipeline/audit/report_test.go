package audit

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// TestReport: the verdict of a copy is that of its worst session, or damaged if something of no
// session can't be read.
func TestReport(t *testing.T) {
	key := replaytest.Key(t)
	form := replaytest.Forms()[0]
	session := func(key *enrich.Key, id string) [][]byte {
		return form.Write(t, replaytest.NewSession(t, key, id, replaytest.Options{Pieces: 4}).Entries())
	}
	whole, other := session(key, "9"), session(key, "10")
	cut := session(key, "11")
	cut = slices.Delete(cut, 1, 2)
	open := session(key, "12")
	open = open[:len(open)-1]
	checker := func(operation string) *Checker {
		return &Checker{Keys: keySet(t, key), Runs: func(o string) bool { return o == operation }}
	}
	for _, test := range []struct {
		name                        string
		units                       [][]byte
		runs                        string // the operation of a session that runs
		verdict                     Verdict
		intact, damaged, incomplete int
		unreadable                  int
		sessions                    []string
	}{
		{"nothing", nil, "", Intact, 0, 0, 0, 0, nil},
		{"whole sessions", slices.Concat(other, whole), "", Intact, 2, 0, 0, 0, []string{"9", "10"}},
		{"one that runs", slices.Concat(whole, open), "12", Incomplete, 1, 0, 1, 0, []string{"9", "12"}},
		{"one that lacks a record", slices.Concat(whole, open, cut), "12", Damaged, 1, 1, 1, 0, []string{"9", "11", "12"}},
		{"a record that can't be read", slices.Concat(whole, [][]byte{[]byte(`{"operation_id":"13","sequence":5,"lo` + "\n")}), "", Damaged, 1, 0, 0, 1, []string{"9"}},
	} {
		data := form.Join(test.units)
		checked := 0
		c := checker(test.runs)
		c.Checked = func(s *replay.Session, r *Result) {
			checked++
			if r.Operation != s.Operation.ID || r.Signed["operation_user_id"] != "u-"+r.Operation {
				t.Errorf("%s: the result of %s, signed %q, for %s", test.name, r.Operation, r.Signed, s.Operation.ID)
			}
		}
		report, err := c.Audit(t.Context(), &replay.Files{Names: []string{"-"}, Stdin: bytes.NewReader(data)}, replay.Selection{})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var sessions []string
		for _, s := range report.Sessions {
			sessions = append(sessions, s.Operation)
		}
		s := report.Summary
		if report.Verdict != test.verdict || s.Intact != test.intact || s.Damaged != test.damaged || s.Incomplete != test.incomplete || s.UnreadableCount != test.unreadable {
			t.Errorf("%s: %s, %+v", test.name, report.Verdict, s)
		}
		if !slices.Equal(sessions, test.sessions) || checked != len(test.sessions) || s.Sessions != len(test.sessions) || report.Empty() != (len(test.units) == 0) {
			t.Errorf("%s: sessions %q, %+v", test.name, sessions, s)
		}
	}
}
