package replay

import (
	"fmt"

	"github.com/ttydrain/ttydrain/schema"
)

// Place is the position of a record in a copy.
type Place struct {
	// Name is the file name, or "-" for standard input; the index and the document's ID; or the
	// stream and the message's sequence.
	Name string `json:"name"`
	// Line and Column count from 1, the column in bytes. They are 0 if the copy has no lines.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

func (p Place) String() string {
	switch {
	case p.Line == 0:
		return p.Name
	case p.Column <= 1:
		return fmt.Sprintf("%s:%d", p.Name, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.Name, p.Line, p.Column)
}

// Lost is the set of a record's fields that a copy does not have.
type Lost uint8

const (
	LostLog        Lost = 1 << iota // the exact bytes: Log is empty
	LostText                        // the exact text: Text is the drain's, altered or truncated
	LostTextDigest                  // only syslog and the stream have it
	LostTiming                      // the timing of the bytes, if there are any
	LostTime                        // Time is the time of reception, or 0
	LostDigest
	// LostByDrain reports that ttydrain itself omitted, truncated or altered a field because of the
	// drain's limits.
	LostByDrain
	// LostOperation reports that Operation has only what syslog carries: the ID, and the host and the
	// app as words of its header.
	LostOperation
)

// FaultIDs is the fault of a record with two different operation IDs.
const FaultIDs = "the operation IDs contradict each other"

// Has reports whether l contains what.
func (l Lost) Has(what Lost) bool { return l&what != 0 }

// Record is a record as found in a copy.
type Record struct {
	schema.Record
	// Operation is the record's operation. It is shared by records with equal operations and must
	// not be modified.
	Operation *schema.Operation
	Lost      Lost
	// Faults lists contradictions and missing or invalid fields within the record.
	Faults []string
	// Form lists deviations from the form of a record that change nothing that was recorded, such as
	// the names of fields that ttydrain does not write.
	Form  []string
	Place Place
	// Part identifies the part of a record that a [Copy] has read. The records of a [Session] are
	// whole.
	Part Part
}

// IsDrainGap reports whether the record replaces a run of records that could not be delivered to
// this drain. It is not one of the session's records, whose sequences and digests do not include
// it.
func (r *Record) IsDrainGap() bool {
	return r.Event == schema.EventGap && r.Detail != nil && r.Sequence != 0 && r.Detail.LastSequence >= r.Sequence
}

// Broken describes data that looks like a record but cannot be read.
type Broken struct {
	Place Place `json:"place"`
	// Operation and Sequence identify the record as far as they can be found in the data.
	Operation string `json:"operation_id,omitempty"`
	Sequence  uint64 `json:"sequence,omitempty"`
	// What describes the problem without quoting the data.
	What string `json:"what"`
}
