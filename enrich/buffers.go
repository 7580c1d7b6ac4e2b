package enrich

import (
	"sync"

	"github.com/ttydrain/ttydrain/schema"
)

// minSpare is the minimum capacity of a segment buffer that is kept for reuse. Most segments of a
// session with a typing user are small, and allocating those is fast.
const minSpare = 16 << 10

// Buffers holds memory that several transcripts share, one after the other: for the record under
// construction and for published segments. It must not be used concurrently. The zero value is
// ready to use.
type Buffers struct {
	text, timing []byte        // of the current record
	record       schema.Record // the current record; empty between two
	terminal     *terminal     // for a line that is shown by itself; nil before the first
	spare        sync.Pool     // of *[]byte, for segments; unused ones are garbage collected
}

// Put releases the Data of a segment, which later segments reuse.
func (b *Buffers) Put(data []byte) {
	if cap(data) >= minSpare {
		b.spare.Put(&data)
	}
}

// take returns a buffer for a segment, which the caller then owns; nil if there is none.
func (b *Buffers) take() []byte {
	if spare, ok := b.spare.Get().(*[]byte); ok {
		return (*spare)[:0]
	}
	return nil
}
