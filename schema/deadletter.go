package schema

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// DeadLetter is a record that a drain permanently refuses, and the reason.
type DeadLetter struct {
	Drain  string    `json:"drain"`
	Reason string    `json:"reason"`
	Status int       `json:"status,omitempty"`
	Time   time.Time `json:"time"`
	// Operation and Sequence identify the record.
	Operation string `json:"operation_id"`
	Sequence  uint64 `json:"sequence"`
	// Gap reports that the record is a gap of records, and Sequence the first missing one: see
	// [Gap].
	Gap bool `json:"gap,omitempty"`
	// Segment is the exact record as a binary segment of one record. Lists omit it.
	Segment []byte `json:"segment,omitempty"`
}

// NewDeadLetter returns the dead letter for a record.
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

// SubjectDeadLetter returns the subject of a dead letter, unique to it:
// deadletter.<drain>.<operation>.<sequence>, followed by .gap for a gap of records.
func SubjectDeadLetter(l *DeadLetter) string {
	subject := "deadletter." + Token(l.Drain) + "." + Token(l.Operation) + "." + strconv.FormatUint(l.Sequence, 10)
	if l.Gap {
		subject += ".gap"
	}
	return subject
}

// FilterDeadLetters returns the filter for the dead letters of a drain ("": of all drains).
func FilterDeadLetters(drain string) string {
	if drain == "" {
		return "deadletter.>"
	}
	return "deadletter." + Token(drain) + ".>"
}
