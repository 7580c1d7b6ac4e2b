package enrich

import (
	"sync"

	"github.com/ttydrain/ttydrain/schema"
)

// minSpare is how many bytes a buffer of segments has at least that is kept for later ones: most
// segments of a session in which somebody types have few, and get them fast.
const minSpare = 16 << 10

// Buffers are memory that transcripts use in turn, one after the other: what a record is made in,
// and that of segments which are published. They are for one goroutine. The zero value is ready.
type Buffers struct {
	text, timing []byte        // of the record at hand
	record       schema.Record // at hand; empty between two
	terminal     *terminal     // of a line at hand that is shown by itself; nil before the first
	spare        sync.Pool     // of *[]byte, for segments: what is not used for a while is no longer kept
}

// Put takes the Data of a segment that nobody needs any more. Later segments are written into it.
func (b *Buffers) Put(data []byte) {
	if cap(data) >= minSpare {
		b.spare.Put(&data)
	}
}

// take gives a buffer for a segment, which is the caller's then; nil where none is spare.
func (b *Buffers) take() []byte {
	if spare, ok := b.spare.Get().(*[]byte); ok {
		return (*spare)[:0]
	}
	return nil
}
