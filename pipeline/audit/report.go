package audit

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// Report is the audit of the selected sessions of a copy.
type Report struct {
	// Verdict is the worst of the sessions' verdicts, and [Damaged] if a record of no session can't be
	// read. It is [Intact] if there is nothing to audit.
	Verdict  Verdict  `json:"verdict"`
	Sessions []Result `json:"sessions"` // in the order of their operations
	Summary  Summary  `json:"summary"`
}

// Summary counts what is in a copy.
type Summary struct {
	Sessions   int `json:"sessions"`
	Intact     int `json:"intact"`
	Damaged    int `json:"damaged"`
	Incomplete int `json:"incomplete"`
	Records    int `json:"records"` // including repeats
	Tests      int `json:"tests"`   // test records of the drain
	Others     int `json:"others"`  // lines and documents from elsewhere
	// Unreadable are the first 1000 of UnreadableCount records of no selected session.
	Unreadable      []replay.Broken `json:"unreadable"`
	UnreadableCount int             `json:"unreadable_count"`
}

// Empty reports whether the copy has nothing to audit: no selected session, and no record that
// can't be read.
func (r *Report) Empty() bool { return len(r.Sessions) == 0 && r.Summary.UnreadableCount == 0 }

// Audit reads a copy and checks each selected session.
func (c *Checker) Audit(ctx context.Context, from replay.Copy, selection replay.Selection) (*Report, error) {
	report := &Report{Verdict: Intact, Sessions: []Result{}}
	summary, err := replay.Sessions(ctx, from, selection, func(s *replay.Session) error {
		result := c.Check(s)
		report.Sessions = append(report.Sessions, result)
		if c.Checked != nil {
			c.Checked(s, &result)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	report.summarize(summary)
	return report, nil
}

func (r *Report) summarize(summary replay.Summary) {
	slices.SortStableFunc(r.Sessions, func(a, b Result) int {
		return cmp.Or(len(a.Operation)-len(b.Operation), strings.Compare(a.Operation, b.Operation))
	})
	s := &r.Summary
	*s = Summary{Sessions: summary.Sessions, Records: summary.Records, Tests: summary.Tests, Others: summary.Others,
		Unreadable: append([]replay.Broken{}, summary.Broken...), UnreadableCount: summary.BrokenCount}
	for _, session := range r.Sessions {
		switch session.Verdict {
		case Damaged:
			s.Damaged++
		case Incomplete:
			s.Incomplete++
		default:
			s.Intact++
		}
	}
	switch {
	case s.Damaged > 0 || s.UnreadableCount > 0:
		r.Verdict = Damaged
	case s.Incomplete > 0:
		r.Verdict = Incomplete
	}
}
