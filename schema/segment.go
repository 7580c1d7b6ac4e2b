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

// MaxSegment is the size in bytes at which a writer of segments begins a new one. One record can
// exceed it by its own size, which enrich bounds; both stay far under NATS's limit of 1 MiB a
// message.
const MaxSegment = 256 << 10

var errNoRecords = errors.New("encode segment: no records")

// AppendSegment appends the binary form of s, whose records must be consecutive:
//
//	version 1, 2 or 3 | uvarint length, JSON of the operation |
//	uvarint first sequence | uvarint first offset | varint first time | uvarint count |
//	records: flags byte | varint nanoseconds since the record before | uvarint length, log |
//	         [uvarint length, text] | uvarint length, timing | digest (32) | text digest (32) |
//	         [uvarint length, JSON of the detail; not for output] |
//	resume: uvarint consumed of stdout, of stderr | uvarint events | parser states (2) | ended byte |
//	        uvarint length, digest state | uvarint length, text digest state |
//	        [uvarint length, state of the terminal; not in version 1]
//
// A segment with an event that version 2 does not have is of version 3, and one without a state of
// the terminal is otherwise of version 1: each is read by everything that can read it.
//
// operationJSON is the JSON of s.Operation, which the caller keeps so that it is made once.
func AppendSegment(dst, operationJSON []byte, s *Segment) ([]byte, error) {
	if len(s.Records) == 0 {
		return dst, errNoRecords
	}
	version := byte(1)
	for i := range s.Records {
		version = max(version, versionOf(&s.Records[i]))
	}
	if len(s.Resume.Terminal) > 0 {
		version = max(version, 2)
	}
	dst = appendHead(dst, operationJSON, &s.Records[0], len(s.Records), version)
	at := before(&s.Records[0])
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
	if r.Event > EventGap {
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

// A place is where the next record of a segment belongs.
type place struct {
	sequence, offset uint64
	last             int64 // the time of the record before
}

func before(first *Record) place { return place{first.Sequence, first.Offset, first.Time} }

// append appends the record that belongs here, and goes on to the next one's place.
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
	if version > 1 {
		dst = appendBytes(dst, r.Terminal)
	}
	return dst
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// trimEnd is the line without its line end.
func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
		// A program that ends its lines with \r\n, through a terminal that adds one more, writes \r\r\n.
		for n := len(line); n > 0 && line[n-1] == '\r'; n-- {
			line = line[:n-1]
		}
	}
	return line
}

// A Decoder reads segments and parses an operation once, as long as segments of it come. It is for
// one goroutine. The zero value is ready.
type Decoder struct {
	// operations are by the digest of their JSON, which would be half of what they are in memory.
	operations recent[[sha256.Size]byte, *Operation]
}

// Segment reads what [AppendSegment] wrote. The records' bytes alias data, and segments of the same
// operation share one Operation, which nobody may change.
func (d *Decoder) Segment(data []byte) (*Segment, error) {
	s := new(Segment)
	if err := d.SegmentInto(s, data); err != nil {
		return nil, err
	}
	return s, nil
}

// SegmentInto is Segment into one that is used again: what it had is gone, and its records' memory
// is those of data as far as there is room. After an error nothing of it means anything.
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
	// Each record has 64 bytes of digests at the least: a count that the data can't hold is a lie.
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
		s.Resume.Terminal = r.bytes()
	}
	s.Resume.Sequence = sequence - 1
	if r.bad || ended > 1 || len(r.data) > 0 || count == 0 {
		return fmt.Errorf("decode segment: %w", ErrCorrupt)
	}
	return nil
}

func (d *Decoder) operation(data []byte) (*Operation, error) {
	d.operations.ask()
	key := sha256.Sum256(data)
	if op, ok := d.operations.now[key]; ok {
		return op, nil
	}
	op, ok := d.operations.before[key]
	if !ok {
		if err := json.Unmarshal(data, &op); err != nil || op == nil { // nil is the JSON null
			return nil, ErrCorrupt // the cause could quote the content
		}
	}
	d.operations.put(key, op)
	return op, nil
}

// HeaderSegments is the header of an answer of the admin address that holds segments, which says
// how many those are: of an answer that goes on, those that are there already. Each is
//
//	uvarint sequence on LOGS | uvarint length, segment
//
// and the answer ends with the sequence 0 and, in the place of a segment, why it ended before all
// was read: 0 bytes if it did not. Without that, something is missing.
const HeaderSegments = "Ttydrain-Segments"
