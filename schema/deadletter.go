package schema

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// A DeadLetter is a record that a drain will never take, and why.
type DeadLetter struct {
	Drain  string    `json:"drain"`
	Reason string    `json:"reason"`
	Status int       `json:"status,omitempty"`
	Time   time.Time `json:"time"`
	// Operation and Sequence name the record.
	Operation string `json:"operation_id"`
	Sequence  uint64 `json:"sequence"`
	// Gap says that it is a gap of records, of which this is the first that is missing: see [Gap].
	Gap bool `json:"gap,omitempty"`
	// Segment is the record exactly, as a binary segment of one record. Lists leave it out.
	Segment []byte `json:"segment,omitempty"`
}

// NewDeadLetter makes the dead letter of a record.
func NewDeadLetter(drain, reason string, status int, at time.Time, op *Operation, r *Record) (*DeadLetter, error) {
	operation, err := json.Marshal(op)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	segment, err := AppendSegment(nil, operation, &Segment{Operation: op, Records: []Record{*r}})
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	gap := r.Detail != nil && r.Detail.LastSequence != 0
	return &DeadLetter{drain, reason, status, at.UTC(), op.ID, r.Sequence, gap, segment}, nil
}

// SubjectDeadLetter is where a dead letter goes, the only one there:
// deadletter.<drain>.<operation>.<sequence>, with .gap behind it for a gap of records.
func SubjectDeadLetter(l *DeadLetter) string {
	subject := "deadletter." + Token(l.Drain) + "." + Token(l.Operation) + "." + strconv.FormatUint(l.Sequence, 10)
	if l.Gap {
		subject += ".gap"
	}
	return subject
}

// FilterDeadLetters matches the dead letters of a drain ("": of all).
func FilterDeadLetters(drain string) string {
	if drain == "" {
		return "deadletter.>"
	}
	return "deadletter." + Token(drain) + ".>"
}
