package schema

import (
	"encoding/json"
	"fmt"
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
	return &DeadLetter{drain, reason, status, at.UTC(), op.ID, r.Sequence, segment}, nil
}

// SubjectDeadLetter is where the dead letters of a drain go: deadletter.<drain>.
func SubjectDeadLetter(drain string) string { return "deadletter." + Token(drain) }
