package schema

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Event is the kind of a record.
type Event uint8

const (
	EventOutput     Event = iota // bytes that the terminal showed
	EventStart                   // the session began
	EventResize                  // the terminal's size changed
	EventEnd                     // the session ended; the last record of every session
	EventGap                     // bytes that could not be recorded or delivered
	EventInput                   // bytes that the client sent as input, without a terminal
	EventTransfer                // a file was transferred
	EventCheckpoint              // the signature of everything before, while the session runs
)

// lastEvent is the last event that this version knows.
const lastEvent = EventCheckpoint

var eventNames = [...]string{"output", "start", "resize", "end", "gap", "input", "transfer", "checkpoint"}

// Events returns all events.
func Events() (events []Event) {
	for e := EventOutput; e <= lastEvent; e++ {
		events = append(events, e)
	}
	return events
}

func (e Event) String() string {
	if int(e) < len(eventNames) {
		return eventNames[e]
	}
	return fmt.Sprintf("event(%d)", uint8(e))
}

// Stream is the source of output. A terminal only has [Stdout].
type Stream uint8

const (
	Stdout Stream = iota
	Stderr
)

func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Digest is a SHA-256 digest.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// AppendHex appends the digest in the form that String returns.
func (d Digest) AppendHex(dst []byte) []byte {
	// This computes eight digits at a time, one in each byte; encoding/hex looks them up one by
	// one.
	const ones = 0x0101010101010101
	var b [2 * len(d)]byte
	for i := 0; i < len(d); i += 4 {
		x := uint64(binary.LittleEndian.Uint32(d[i:]))
		x = (x | x<<16) & 0x0000ffff0000ffff
		x = (x | x<<8) & 0x00ff00ff00ff00ff
		x = x>>4&0x000f000f000f000f | x&0x000f000f000f000f<<8
		letters := (x + 6*ones) >> 4 & ones // of those over 9
		binary.LittleEndian.PutUint64(b[2*i:], x+'0'*ones+letters*('a'-'9'-1))
	}
	return append(dst, b[:]...)
}

// Record is one line or one event of a session.
//
// The records of an operation in the order of their sequence are its transcript: the concatenated
// Log fields are exactly the bytes that were shown (for a session without a terminal, per stream).
type Record struct {
	Event  Event
	Stream Stream
	// Partial reports that the line continues in the stream's next record.
	Partial bool
	// Sequence counts an operation's records from 1, without gaps.
	Sequence uint64
	// Offset is the number of the session's bytes before this record, including those that gaps
	// report as missing.
	Offset uint64
	// Time is the time at which the first byte was shown, in nanoseconds since 1970 UTC.
	Time int64
	// Log holds the exact bytes, including the newline that ended the line; it is empty for all
	// events but EventOutput.
	Log []byte
	// Text is the record in readable form: valid UTF-8 without control characters, escape sequences
	// or a line end. In a session with a terminal, it holds the terminal lines that the record
	// wrote to, as they look at the record's end, after backspaces, carriage returns and cursor
	// movements. A line is always complete, even if earlier records wrote its beginning; several
	// lines are joined by " ⏎ ". Overwritten lines are in ⌫⟦…⟧ and text written as invisible is in
	// ◌⟦…⟧; these brackets occur in no other text. Text is empty if nothing was written. For an
	// event it is a sentence that describes the event. Package enrich documents the limits.
	Text []byte
	// Timing records when the bytes of Log arrived, as "DELAY:BYTES" pairs separated by spaces.
	// DELAY is in microseconds since the previous pair (for the first, since Time). It is empty for
	// events.
	Timing []byte
	// Digest is the SHA-256 of the session's bytes up to the end of this record.
	Digest Digest
	// TextDigest is the SHA-256 of the texts of the records up to this one, each followed by a
	// newline. It verifies a copy that only has the texts.
	TextDigest Digest
	// Detail holds the fields that only events have; nil for EventOutput.
	Detail *Detail
}

// Span returns the number of the session's bytes that the record covers: the length of Log, or the
// number of bytes that a gap reports as missing.
func (r *Record) Span() uint64 {
	if r.Event == EventGap && r.Detail != nil && r.Detail.Bytes != nil {
		return *r.Detail.Bytes
	}
	return uint64(len(r.Log))
}

// Detail holds the fields of event records beyond the common ones. Its JSON names are those of the
// delivered record.
type Detail struct {
	Command     string `json:"command,omitempty"`
	Interactive *bool  `json:"interactive,omitempty"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
	Origin             // of a start
	// ExitStatus is the exit status of the command, or 128 plus the number of the signal that ended
	// it.
	ExitStatus *int   `json:"exit_status,omitempty"`
	Reason     string `json:"reason,omitempty"`
	// EndedBy names the operator who killed the session, and EndedBecause is the reason that the
	// operator stated, or "". Both are free text.
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	// InputBytes and InputSHA256 are set at the end of a session without a terminal: the size and
	// the SHA-256, in hexadecimal, of the input that its program received.
	InputBytes  *uint64 `json:"input_bytes,omitempty"`
	InputSHA256 string  `json:"input_sha256,omitempty"`
	// Input holds the exact bytes of an input record.
	Input []byte `json:"input_base64,omitempty"`
	// Path is the transferred file as the client named it, and Direction is [Upload] or [Download].
	Path      string `json:"path,omitempty"`
	Direction string `json:"direction,omitempty"`
	// Size is the number of transferred bytes of the file, and SHA256 their digest in hexadecimal;
	// "" unless the whole file was transferred in order.
	Size   *uint64 `json:"size,omitempty"`
	SHA256 string  `json:"sha256,omitempty"`
	// Bytes is the session's total at the end, or the number of bytes missing from Offset on in a
	// gap.
	Bytes *uint64 `json:"bytes,omitempty"`
	// LastSequence is set in a gap of records, which replaces those from Sequence up to this one:
	// see [Gap].
	LastSequence uint64 `json:"last_sequence,omitempty"`
	// Uncertain is set in a gap of records if the drain may have some of them.
	Uncertain bool `json:"uncertain,omitempty"`
	// Signature is a JWS (RFC 7515): of a start, over the operation ([SignedOperation]); of an end
	// and of a checkpoint, over the totals and digests so far ([Totals]); of a gap, over the record
	// ([GapClaim]).
	Signature string `json:"signature,omitempty"`
}

// Directions of a transfer.
const (
	Upload   = "upload"   // to the session's container
	Download = "download" // from it
)

// Segment is a run of consecutive records of one operation.
type Segment struct {
	Operation *Operation
	Records   []Record
	// Resume is the enricher's state after the last record, from which a successor continues.
	Resume Resume
}

// Resume is the state that an enricher needs to continue after a segment without reading earlier
// ones.
type Resume struct {
	// Consumed counts the bytes of each stream that are in records.
	Consumed [2]uint64
	// Events counts the event frames that are in records.
	Events uint64
	// Sequence is the sequence of the last record.
	Sequence uint64
	// Parser is the state of the escape-sequence parser of each stream.
	Parser [2]uint8
	// Digest and TextDigest are the marshalled states of the running SHA-256 hashes.
	Digest, TextDigest []byte
	// Terminal is the encoded screen of the session's terminal, as far as the texts of later
	// records depend on it; empty if they do not, and for a session without a terminal. Only
	// package enrich decodes it.
	Terminal []byte
	// Proof is the state of what the session's next signature covers besides Digest and TextDigest;
	// empty if a version that did not know it had a part in the session. Only package enrich decodes
	// it.
	Proof []byte
	// Ended reports that the last record is the session's end.
	Ended bool
}
