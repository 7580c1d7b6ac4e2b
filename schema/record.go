package schema

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Event says what a record tells.
type Event uint8

const (
	EventOutput   Event = iota // bytes that the terminal showed
	EventStart                 // the session began
	EventResize                // the terminal has another size
	EventEnd                   // the session ended; the last record of every session
	EventGap                   // bytes that could not be recorded or delivered
	EventInput                 // bytes that the client sent as input, without a terminal
	EventTransfer              // a file was transferred
)

// lastEvent is the last of the events that this version knows.
const lastEvent = EventTransfer

var eventNames = [...]string{"output", "start", "resize", "end", "gap", "input", "transfer"}

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

// Stream says where output came from. A terminal has only [Stdout].
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

// AppendHex appends the digest as String gives it.
func (d Digest) AppendHex(dst []byte) []byte {
	// Eight digits at a time, each in a byte: encoding/hex looks up one after the other.
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

// A Record is one line or one event of a session.
//
// The records of an operation, in the order of their sequence, are its transcript: the Log fields
// joined are exactly the bytes that were shown (for a session without a terminal, per stream).
type Record struct {
	Event  Event
	Stream Stream
	// Partial says that the line goes on in the stream's next record.
	Partial bool
	// Sequence counts an operation's records from 1, without gaps.
	Sequence uint64
	// Offset is the number of the session's bytes before this record: those in the records before it,
	// and those that gaps say are missing.
	Offset uint64
	// Time is when the first byte was shown, in nanoseconds since 1970 UTC.
	Time int64
	// Log is the exact bytes, with the newline that ended the line; empty for all but EventOutput.
	Log []byte
	// Text is the record as a person reads it: valid UTF-8 without control characters, escape
	// sequences or line end. In a session with a terminal it has the lines that the record wrote
	// to, as the terminal shows them at the record's end, after backspaces, carriage returns and
	// movements of the cursor: the whole of a line, also of one that began in the records before,
	// and " ⏎ " between lines where there are several. A line that stood there and is gone is in
	// ⌫⟦…⟧, and what was written as invisible in ◌⟦…⟧; no other text has these brackets. It is
	// empty where nothing was written. See package enrich for what is not guaranteed. For an event
	// it is a sentence about it.
	Text []byte
	// Timing tells when the bytes of Log arrived: "DELAY:BYTES" pairs with a space between,
	// DELAY in microseconds since the pair before (for the first, since Time). Empty for events.
	Timing []byte
	// Digest is the SHA-256 of the session's bytes up to the end of this record.
	Digest Digest
	// TextDigest is the SHA-256 of the texts of the records so far, each followed by a newline.
	// It lets a copy that has only the texts be checked.
	TextDigest Digest
	// Detail has what only events tell; nil for EventOutput.
	Detail *Detail
}

// Span is how many of the session's bytes the record stands for: those of its Log, or those that a
// gap says are missing.
func (r *Record) Span() uint64 {
	if r.Event == EventGap && r.Detail != nil && r.Detail.Bytes != nil {
		return *r.Detail.Bytes
	}
	return uint64(len(r.Log))
}

// Detail is what a start, resize, end or gap record tells beyond the common fields.
// Its JSON names are those of the drained record.
type Detail struct {
	Command     string `json:"command,omitempty"`
	Interactive *bool  `json:"interactive,omitempty"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
	// ExitStatus is the command's; 128 plus the signal's number when a signal ended it.
	ExitStatus *int   `json:"exit_status,omitempty"`
	Reason     string `json:"reason,omitempty"`
	// EndedBy is who ended a session that was killed, in their own words, and EndedBecause what they
	// gave as the reason, or "".
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	// InputBytes and InputSHA256 are, at the end of a session without a terminal, the total and the
	// SHA-256, in hexadecimal, of the input that its program was given.
	InputBytes  *uint64 `json:"input_bytes,omitempty"`
	InputSHA256 string  `json:"input_sha256,omitempty"`
	// Input is, in an input record, the exact bytes.
	Input []byte `json:"input_base64,omitempty"`
	// Path is, in a transfer, the file as the client named it, and Direction [Upload] or [Download].
	Path      string `json:"path,omitempty"`
	Direction string `json:"direction,omitempty"`
	// Size is how many bytes of the file were transferred, and SHA256 their digest in hexadecimal; ""
	// where they were not transferred from the first to the last.
	Size   *uint64 `json:"size,omitempty"`
	SHA256 string  `json:"sha256,omitempty"`
	// Bytes is, at the end, the session's total; in a gap, how many bytes from Offset on are missing.
	Bytes *uint64 `json:"bytes,omitempty"`
	// LastSequence is in a gap of records, which stands for those from Sequence to this one: see
	// [Gap].
	LastSequence uint64 `json:"last_sequence,omitempty"`
	// Uncertain is in a gap of records of which the drain may have some: nobody knows which.
	Uncertain bool `json:"uncertain,omitempty"`
	// Signature is a JWS (RFC 7515) over the end's totals and digests.
	Signature string `json:"signature,omitempty"`
}

// The directions of a transfer.
const (
	Upload   = "upload"   // to the session's container
	Download = "download" // from it
)

// A Segment is a run of consecutive records of one operation.
type Segment struct {
	Operation *Operation
	Records   []Record
	// Resume is the enricher's state after the last record, from which a successor goes on.
	Resume Resume
}

// Resume is what an enricher needs in order to go on after a segment, without the ones before it.
type Resume struct {
	// Consumed counts the bytes of each stream that are in records so far.
	Consumed [2]uint64
	// Events counts the event frames that are in records so far.
	Events uint64
	// Sequence is the last record's.
	Sequence uint64
	// Parser is the state of the escape-sequence parser of each stream.
	Parser [2]uint8
	// Digest and TextDigest are the marshalled states of the running SHA-256 hashes.
	Digest, TextDigest []byte
	// Terminal is what the session's terminal shows, as far as the texts of later records need it;
	// empty where it shows nothing that they do, and for a session without a terminal. Only package
	// enrich reads it.
	Terminal []byte
	// Ended says that the last record is the session's end.
	Ended bool
}
