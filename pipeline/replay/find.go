package replay

import (
	"context"
	"fmt"
)

// A NotFoundError reports that a copy has no session of an operation.
type NotFoundError struct {
	Operation string
	Broken    int // records of the copy that can't be read
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("session %s was not found", e.Operation) }

// An AmbiguousError reports that a copy has several sessions with one ID.
type AmbiguousError struct {
	Operation string
	Sessions  []*Session
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("there are %d sessions with the ID %s", len(e.Sessions), e.Operation)
}

// FindSession reads the session of one operation from a copy. The error is a *[NotFoundError] or an
// *[AmbiguousError] if the selection has none or several.
func FindSession(ctx context.Context, c Copy, sel Selection) (*Session, error) {
	var found []*Session
	summary, err := Sessions(ctx, c, sel, func(s *Session) error {
		found = append(found, s)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, &NotFoundError{Operation: sel.Operation, Broken: summary.BrokenCount}
	case len(found) > 1:
		return nil, &AmbiguousError{Operation: sel.Operation, Sessions: found}
	}
	return found[0], nil
}

// Defects are the ways in which a session of a copy is not, or may not be, as it was.
type Defects struct {
	Missing     uint64 // records before the last one that are not in the copy
	Conflicting int    // records that differ from an earlier one with the same sequence
	Broken      int    // records that can't be read
	NoEnd       bool   // the session runs, or its end is missing
	Lost        Lost   // fields that the copy does not have
}

// Defects returns the defects of a session. They are for people who look at it; package audit
// proves that data is intact.
func (s *Session) Defects() Defects {
	d := Defects{Broken: len(s.Broken), NoEnd: s.End() == nil, Lost: s.Lost}
	last := uint64(0)
	for _, r := range s.Records {
		if r.Sequence > last {
			d.Missing += r.Sequence - last - 1
			last = r.Sequence
		} else {
			d.Conflicting++
		}
	}
	return d
}
