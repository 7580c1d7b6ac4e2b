package replay

import (
	"context"
	"errors"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// A listed copy has these records.
type listed []*Record

func (l listed) Grouped() bool { return false }

func (l listed) Read(_ context.Context, v Visitor) error {
	for _, r := range l {
		if err := v.Record(r); err != nil {
			return err
		}
	}
	return nil
}

// TestFindSession finds one session, none, and two with the same ID.
func TestFindSession(t *testing.T) {
	record := func(operation, container string, sequence uint64, event schema.Event) *Record {
		return &Record{
			Record:    schema.Record{Sequence: sequence, Event: event, Time: int64(sequence), Log: []byte(container)},
			Operation: &schema.Operation{ID: operation, App: "web", Container: container},
		}
	}
	c := listed{
		record("1", "a", 1, schema.EventStart), record("1", "a", 4, schema.EventOutput), record("2", "b", 1, schema.EventStart),
		record("3", "c", 1, schema.EventStart), record("3", "d", 1, schema.EventStart),
	}
	s, err := FindSession(t.Context(), c, Selection{Operation: "1"})
	if err != nil || s.Operation.ID != "1" {
		t.Fatalf("%+v, %v", s, err)
	}
	if d := s.Defects(); d.Missing != 2 || d.Conflicting != 0 || d.Broken != 0 || !d.NoEnd {
		t.Errorf("defects %+v", d)
	}
	_, err = FindSession(t.Context(), c, Selection{Operation: "4"})
	if missing, ok := errors.AsType[*NotFoundError](err); !ok || missing.Operation != "4" {
		t.Errorf("no session: %v", err)
	}
	_, err = FindSession(t.Context(), c, Selection{Operation: "3"})
	if several, ok := errors.AsType[*AmbiguousError](err); !ok || len(several.Sessions) != 2 {
		t.Errorf("two sessions: %v", err)
	}
}
