package replay

import (
	"fmt"

	"github.com/ttydrain/ttydrain/schema"
)

// A Place is where in a copy a record stands.
type Place struct {
	// Name is the file's, "-" for standard input; an index with the document's ID; or the stream with
	// the sequence.
	Name string `json:"name"`
	// Line and Column count from 1; the column in bytes. 0 where the copy has no lines.
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

// Lost says what a copy does not have of a record.
type Lost uint8

const (
	LostLog        Lost = 1 << iota // the exact bytes: Log is empty
	LostText                        // the exact text: Text is as the drain has it, altered or cut
	LostTextDigest                  // which only syslog and the stream have
	LostTiming                      // of bytes that are there
	LostTime                        // Time is when the receiver had it, or 0
	LostDigest
	// LostByDrain says that ttydrain itself has left out, cut or altered what is lost, because of what
	// the drain takes.
	LostByDrain
)

// FaultIDs is the fault of a record that names two operations.
const FaultIDs = "its operation's IDs contradict each other"

// Has says whether something is lost.
func (l Lost) Has(what Lost) bool { return l&what != 0 }

// A Record is one record as a copy has it.
type Record struct {
	schema.Record
	// Operation is what the record says of its operation. Records that say the same share it: nobody
	// may change it.
	Operation *schema.Operation
	Lost      Lost
	// Faults are what is wrong with the record by itself: a field that is missing or can't be, or two
	// that contradict each other.
	Faults []string
	Place  Place
	// Part says which part of a record this is, as a [Copy] reads it. The records of a [Session] are
	// whole.
	Part Part
}

// ToldGap says that the record tells of a run of records that this drain misses, and is in their
// place. It is no record of the session, whose sequences and digests are without it.
func (r *Record) ToldGap() bool {
	return r.Event == schema.EventGap && r.Detail != nil && r.Sequence != 0 && r.Detail.LastSequence >= r.Sequence
}

// Broken is something that looks like a record and can't be read.
type Broken struct {
	Place Place `json:"place"`
	// Operation and Sequence are whose it seems to be; "" and 0 where that can't be told.
	Operation string `json:"operation_id,omitempty"`
	Sequence  uint64 `json:"sequence,omitempty"`
	// What says what is wrong, and quotes nothing.
	What string `json:"what"`
}
