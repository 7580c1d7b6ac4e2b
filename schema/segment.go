package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// Flags of a record in a segment.
const (
	flagEvent   = 0x07 // the Event
	flagStderr  = 0x08
	flagPartial = 0x10
	flagText    = 0x20 // the text differs from the log without its line end, and follows
	flagUnknown = 0xff &^ (flagEvent | flagStderr | flagPartial | flagText)
)

// MaxSegment is the size in bytes at which a writer starts a new segment. A single record, whose
// size package enrich limits, can exceed it; both stay far below NATS's limit of 1 MiB per message.
const MaxSegment = 256 << 10

var errNoRecords = errors.New("encode segment: no records")

// AppendSegment appends the binary form of s, whose records must be consecutive:
//
//	version 1 to 4 | uvarint length, JSON of the operation |
//	uvarint first sequence | uvarint first offset | varint first time | uvarint count |
//	records: flags byte | varint nanoseconds since the record before | uvarint length, log |
//	         [uvarint length, text] | uvarint length, timing | digest (32) | text digest (32) |
//	         [uvarint length, JSON of the detail; not for output] |
//	resume: uvarint consumed of stdout, of stderr | uvarint events | parser states (2) | ended byte |
//	        uvarint length, digest state | uvarint length, text digest state |
//	        [uvarint length, [0xff | uvarint length, proof] state of the terminal; not in version 1]
//
// A segment that contains a checkpoint has version 4, and one that contains another event unknown
// to version 2 has version 3. Otherwise, one without a
// terminal state and a proof has version 1. So each segment is readable by the oldest release
// possible: one that does not know proofs takes a proof for a terminal state of a later version,
// and continues without both.
//
// operationJSON is the JSON of s.Operation. The caller keeps it, so that it is encoded only once.
func AppendSegment(dst, operationJSON []byte, s *Segment) ([]byte, error) {
	if len(s.Records) == 0 {
		return dst, errNoRecords
	}
	version := byte(1)
	for i := range s.Records {
		version = max(version, versionOf(&s.Records[i]))
	}
	version = max(version, s.Resume.version())
	dst = appendHead(dst, operationJSON, &s.Records[0], len(s.Records), version)
	at := placeOf(&s.Records[0])
	var err error
	for i := range s.Records {
		if dst, err = at.append(dst, &s.Records[i]); err != nil {
			return dst, err
		}
	}
	return appendResume(dst, &s.Resume, version), nil
}

// versionOf returns the first version of a segment that can have a record.
func versionOf(r *Record) byte {
	switch {
	case r.Event > EventTransfer:
		return 4
	case r.Event > EventGap:
		return 3
	}
	return 1
}

func appendHead(dst, operationJSON []byte, first *Record, count int, version byte) []byte {
	dst = append(dst, version)
	dst = appendBytes(dst, operationJSON)
	dst = binary.AppendUvarint(dst, first.Sequence)
	dst = binary.AppendUvarint(dst, first.Offset)
	dst = binary.AppendVarint(dst, first.Time)
	return binary.AppendUvarint(dst, uint64(count))
}

// place is the sequence, offset and time base that a segment's next record must have.
type place struct {
	sequence, offset uint64
	last             int64 // time of the previous record
}

func placeOf(first *Record) place { return place{first.Sequence, first.Offset, first.Time} }

// append appends the record, which must be the expected one, and advances to the next place.
func (p *place) append(dst []byte, r *Record) ([]byte, error) {
	if r.Sequence != p.sequence || r.Offset != p.offset {
		return dst, fmt.Errorf("encode segment: record %d at offset %d is not consecutive: expected %d at %d", r.Sequence, r.Offset, p.sequence, p.offset)
	}
	flags := byte(r.Event) & flagEvent
	if r.Stream == Stderr {
		flags |= flagStderr
	}
	if r.Partial {
		flags |= flagPartial
	}
	hasText := !bytes.Equal(r.Text, trimEnd(r.Log))
	if hasText {
		flags |= flagText
	}
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, r.Time-p.last)
	dst = appendBytes(dst, r.Log)
	if hasText {
		dst = appendBytes(dst, r.Text)
	}
	dst = appendBytes(dst, r.Timing)
	dst = append(dst, r.Digest[:]...)
	dst = append(dst, r.TextDigest[:]...)
	if r.Event != EventOutput {
		detail, err := json.Marshal(r.Detail)
		if err != nil {
			return dst, fmt.Errorf("encode segment: %w", err)
		}
		dst = appendBytes(dst, detail)
	}
	p.sequence++
	p.offset += r.Span()
	p.last = r.Time
	return dst, nil
}

func appendResume(dst []byte, r *Resume, version byte) []byte {
	dst = binary.AppendUvarint(dst, r.Consumed[Stdout])
	dst = binary.AppendUvarint(dst, r.Consumed[Stderr])
	dst = binary.AppendUvarint(dst, r.Events)
	dst = append(dst, r.Parser[Stdout], r.Parser[Stderr])
	ended := byte(0)
	if r.Ended {
		ended = 1
	}
	dst = append(dst, ended)
	dst = appendBytes(dst, r.Digest)
	dst = appendBytes(dst, r.TextDigest)
	if version == 1 {
		return dst
	}
	if len(r.Proof) == 0 {
		return appendBytes(dst, r.Terminal)
	}
	proof := appendBytes([]byte{proofMark}, r.Proof)
	dst = binary.AppendUvarint(dst, uint64(len(proof)+len(r.Terminal)))
	return append(append(dst, proof...), r.Terminal...)
}

// proofMark precedes a proof. It is no version of a terminal's state.
const proofMark = 0xff

// version returns the first version of a segment that can have the state.
func (r *Resume) version() byte {
	if len(r.Terminal)+len(r.Proof) > 0 {
		return 2
	}
	return 1
}

// readTerminal reads the terminal's state and the proof.
func (r *Resume) readTerminal(in *reader) {
	r.Terminal = in.bytes()
	if len(r.Terminal) > 0 && r.Terminal[0] == proofMark {
		state := reader{data: r.Terminal[1:]}
		r.Proof = state.bytes()
		r.Terminal = state.data
		in.bad = in.bad || state.bad || len(r.Proof) == 0
	}
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// trimEnd returns the line without its line end.
func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
		// A program that ends its lines with \r\n produces \r\r\n, as the terminal adds one more.
		for n := len(line); n > 0 && line[n-1] == '\r'; n-- {
			line = line[:n-1]
		}
	}
	return line
}

// Decoder reads segments. It parses an operation once while segments of it keep arriving. It must
// not be used concurrently. The zero value is ready to use.
type Decoder struct {
	// operations is keyed by the digest of the operation's JSON: the JSON itself would take half as
	// much memory as the operation.
	operations recent[[sha256.Size]byte, *Operation]
}

// Segment decodes the output of [AppendSegment]. The records' bytes alias data. Segments of the
// same operation share one Operation, which must not be modified.
func (d *Decoder) Segment(data []byte) (*Segment, error) {
	s := new(Segment)
	if err := d.SegmentInto(s, data); err != nil {
		return nil, err
	}
	return s, nil
}

// SegmentInto is like Segment, but decodes into s and reuses its memory for the records. After an
// error, the content of s is undefined.
func (d *Decoder) SegmentInto(s *Segment, data []byte) error {
	r := reader{data: data}
	version, err := r.version(segmentVersion)
	if err != nil {
		return fmt.Errorf("decode segment: %w", err)
	}
	op, err := d.operation(r.bytes())
	if err != nil {
		return fmt.Errorf("decode segment: operation: %w", err)
	}
	sequence, offset, at, count := r.uvarint(), r.uvarint(), r.varint(), r.uvarint()
	// Each record has at least 64 bytes of digests: reject a count that the data cannot hold.
	if r.bad || count > uint64(len(r.data))/64 {
		return fmt.Errorf("decode segment: %w", ErrCorrupt)
	}
	records := s.Records[:0]
	if uint64(cap(records)) < count {
		records = make([]Record, 0, count)
	}
	*s = Segment{Operation: op, Records: records[:count]}
	for i := range s.Records {
		rec := &s.Records[i]
		*rec = Record{}
		flags := r.byte()
		at += r.varint()
		rec.Event = Event(flags & flagEvent)
		if flags&flagStderr != 0 {
			rec.Stream = Stderr
		}
		rec.Partial = flags&flagPartial != 0
		rec.Sequence, rec.Offset, rec.Time = sequence, offset, at
		rec.Log = r.bytes()
		rec.Text = trimEnd(rec.Log)
		if flags&flagText != 0 {
			rec.Text = r.bytes()
		}
		rec.Timing = r.bytes()
		copy(rec.Digest[:], r.take(32))
		copy(rec.TextDigest[:], r.take(32))
		if rec.Event != EventOutput {
			detail := r.bytes()
			if r.bad {
				break
			}
			rec.Detail = new(Detail)
			if err := json.Unmarshal(detail, rec.Detail); err != nil {
				return fmt.Errorf("decode segment: detail of record %d: %w", sequence, ErrCorrupt)
			}
		}
		if rec.Event > lastEvent || versionOf(rec) > version || flags&flagUnknown != 0 {
			r.bad = true
		}
		sequence++
		offset += rec.Span()
	}
	s.Resume.Consumed[Stdout] = r.uvarint()
	s.Resume.Consumed[Stderr] = r.uvarint()
	s.Resume.Events = r.uvarint()
	s.Resume.Parser[Stdout] = r.byte()
	s.Resume.Parser[Stderr] = r.byte()
	ended := r.byte()
	s.Resume.Ended = ended == 1
	s.Resume.Digest = r.bytes()
	s.Resume.TextDigest = r.bytes()
	if version > 1 {
		s.Resume.readTerminal(&r)
	}
	s.Resume.Sequence = sequence - 1
	if r.bad || ended > 1 || len(r.data) > 0 || count == 0 {
		return fmt.Errorf("decode segment: %w", ErrCorrupt)
	}
	return nil
}

func (d *Decoder) operation(data []byte) (*Operation, error) {
	d.operations.lookUp()
	key := sha256.Sum256(data)
	if op, ok := d.operations.current[key]; ok {
		return op, nil
	}
	op, ok := d.operations.previous[key]
	if !ok {
		if err := json.Unmarshal(data, &op); err != nil || op == nil { // nil is the JSON null
			return nil, ErrCorrupt // wrapping the cause could leak the content
		}
	}
	d.operations.put(key, op)
	return op, nil
}

// HeaderSegments is the header of an admin API response that holds segments. Its value is their
// number; for a response that follows a running session, the number that existed at its start. Each
// segment is
//
//	uvarint sequence on LOGS | uvarint length, segment
//
// The response ends with the sequence 0 and, instead of a segment, the reason why it ended early: 0
// bytes if it is complete. Without this trailer, the response was cut off.
const HeaderSegments = "Ttydrain-Segments"
