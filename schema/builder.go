package schema

import "encoding/binary"

// SegmentBuilder builds segments, in the form of [AppendSegment], from consecutive records. It
// encodes each record at once and does not retain it. The zero value is ready to use. It must not
// be used concurrently.
type SegmentBuilder struct {
	operationJSON []byte
	buf           []byte // space for the head, then the records
	headSpace     int
	count         int
	version       byte   // required by the records
	first         Record // the first record without its content, for the head
	next          place
}

// Begin starts a segment of an operation. The builder owns buf until Finish and overwrites its
// content. operationJSON is the JSON of the operation, as in AppendSegment.
func (b *SegmentBuilder) Begin(buf, operationJSON []byte) {
	b.headSpace = maxHead + len(operationJSON)
	if cap(buf) < b.headSpace {
		buf = make([]byte, b.headSpace, 2*b.headSpace)
	}
	b.operationJSON, b.buf, b.count, b.version = operationJSON, buf[:b.headSpace], 0, 1
}

// maxHead is the maximum number of bytes that appendHead appends, apart from the operation.
const maxHead = 1 + 5*binary.MaxVarintLen64

// maxRecord is the maximum size of a record without a detail, apart from its log, text and timing.
const maxRecord = 1 + 4*binary.MaxVarintLen64 + 2*len(Digest{})

// Add adds a record, which must follow the previous one. A record that causes an error is not
// added.
func (b *SegmentBuilder) Add(r *Record) error {
	if b.count == 0 {
		b.first = Record{Sequence: r.Sequence, Offset: r.Offset, Time: r.Time}
		b.next = placeOf(r)
	}
	if need := len(b.buf) + len(r.Log) + len(r.Text) + len(r.Timing) + maxRecord; need > cap(b.buf) { // append would grow it by less
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

// Records returns the number of records added since Begin.
func (b *SegmentBuilder) Records() int { return b.count }

// First returns the time of the first record.
func (b *SegmentBuilder) First() int64 { return b.first.Time }

// Size returns the number of bytes of the records.
func (b *SegmentBuilder) Size() int { return len(b.buf) - b.headSpace }

// Finish returns the segment and resets the builder. It fails if no record was added.
func (b *SegmentBuilder) Finish(resume *Resume) ([]byte, error) {
	if b.count == 0 {
		return nil, errNoRecords
	}
	b.version = max(b.version, resume.version())
	head := appendHead(nil, b.operationJSON, &b.first, b.count, b.version)
	start := b.headSpace - len(head)
	copy(b.buf[start:], head)
	data := appendResume(b.buf, resume, b.version)[start:]
	*b = SegmentBuilder{}
	return data, nil
}
