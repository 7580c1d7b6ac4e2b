package enrich

import "github.com/ttydrain/ttydrain/schema"

// Buffers of segments are kept for later ones where they have minSpare bytes, and maxSpare of them at most. Where sessions are busy
// they have about half a mebibyte each.
const minSpare, maxSpare = 16 << 10, 8

// Buffers are memory that transcripts use in turn, one after the other: what a record is made in, and that of segments which are
// published. They are for one goroutine. The zero value is ready.
type Buffers struct {
	text, timing []byte        // of the record at hand
	record       schema.Record // at hand; empty between two
	spare        [][]byte      // at most maxSpare
}

// Put takes the Data of a segment that nobody needs any more. Later segments are written into it.
func (b *Buffers) Put(data []byte) {
	if len(b.spare) < maxSpare && cap(data) >= minSpare {
		b.spare = append(b.spare, data[:0])
	}
}

// take gives a buffer for a segment, which is the caller's then; nil where none is spare.
func (b *Buffers) take() []byte {
	n := len(b.spare)
	if n == 0 {
		return nil
	}
	last := b.spare[n-1]
	b.spare[n-1] = nil
	b.spare = b.spare[:n-1]
	return last
}
