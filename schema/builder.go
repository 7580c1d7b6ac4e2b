package schema

import "encoding/binary"

// A SegmentBuilder makes segments, in the form of [AppendSegment], of records that come one after
// the other. It writes each to its place at once and keeps nothing of it. The zero value is ready.
// It is for one goroutine.
type SegmentBuilder struct {
	operationJSON []byte
	buf           []byte // the records, behind room for the head
	room          int
	count         int
	version       byte   // that the records need
	first         Record // of which the head tells; without its content
	next          place
}

// Begin begins a segment of an operation in buf, which is the builder's until Finish; what is in it
// does not matter. operationJSON is that of AppendSegment.
func (b *SegmentBuilder) Begin(buf, operationJSON []byte) {
	b.room = headRoom + len(operationJSON)
	if cap(buf) < b.room {
		buf = make([]byte, b.room, 2*b.room)
	}
	b.operationJSON, b.buf, b.count, b.version = operationJSON, buf[:b.room], 0, 1
}

// headRoom is how many bytes appendHead appends at most, besides the operation.
const headRoom = 1 + 5*binary.MaxVarintLen64

// recordRoom is how many bytes a record without a detail has at most, besides its log, text and
// timing.
const recordRoom = 1 + 4*binary.MaxVarintLen64 + 2*len(Digest{})

// Add adds a record, which must follow the one before it. After an error it was not added.
func (b *SegmentBuilder) Add(r *Record) error {
	if b.count == 0 {
		b.first = Record{Sequence: r.Sequence, Offset: r.Offset, Time: r.Time}
		b.next = before(r)
	}
	if need := len(b.buf) + len(r.Log) + len(r.Text) + len(r.Timing) + recordRoom; need > cap(b.buf) { // append would grow it by less
		b.buf = append(make([]byte, 0, max(need, 2*cap(b.buf))), b.buf...)
	}
	buf, err := b.next.append(b.buf, r)
	if err != nil {
		return err
	}
	b.buf = buf
	b.count++
	b.version = max(b.version, versionOf(r))
	return nil
}

// Records is how many records were added since Begin.
func (b *SegmentBuilder) Records() int { return b.count }

// First is the time of the first one.
func (b *SegmentBuilder) First() int64 { return b.first.Time }

// Size is how many bytes they take.
func (b *SegmentBuilder) Size() int { return len(b.buf) - b.room }

// Finish gives the segment of the records, of which there must be one at least, and lets go of it.
func (b *SegmentBuilder) Finish(resume *Resume) ([]byte, error) {
	if b.count == 0 {
		return nil, errNoRecords
	}
	if len(resume.Terminal) > 0 {
		b.version = max(b.version, 2)
	}
	head := appendHead(nil, b.operationJSON, &b.first, b.count, b.version)
	start := b.room - len(head)
	copy(b.buf[start:], head)
	data := appendResume(b.buf, resume, b.version)[start:]
	*b = SegmentBuilder{}
	return data, nil
}
