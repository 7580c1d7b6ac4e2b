package session

import "sync"

// buffers recycles the memory of busy sessions' output, so that it is not allocated for every
// chunk. Small buffers are not worth it. The zero value is ready to use.
type buffers struct {
	frames, chunks, large sync.Pool // of *[]byte, of the capacities below
}

const (
	// smallBuffer is the maximum size of a buffer that is left to the garbage collector.
	smallBuffer = 4 << 10
	// frameBuffer holds the payload of a frame, chunkBuffer a chunk that has reached chunkBytes,
	// and largeBuffer the largest chunk, including the frame that filled it; the latter two also
	// hold the overhead of the encoding.
	frameBuffer = chunkBytes
	chunkBuffer = 2*chunkBytes + 4<<10
	largeBuffer = largeChunkBytes + chunkBytes + 16<<10
)

// pool returns the pool for buffers of a capacity; nil if there is none.
func (b *buffers) pool(capacity int) *sync.Pool {
	switch capacity {
	case frameBuffer:
		return &b.frames
	case chunkBuffer:
		return &b.chunks
	case largeBuffer:
		return &b.large
	}
	return nil
}

// get returns an empty buffer with a capacity of at least size bytes. The caller owns it and may
// return it with put.
func (b *buffers) get(size int) []byte {
	capacity := size
	switch {
	case size <= smallBuffer:
	case size <= frameBuffer:
		capacity = frameBuffer
	case size <= chunkBuffer:
		capacity = chunkBuffer
	case size <= largeBuffer:
		capacity = largeBuffer
	}
	if pool := b.pool(capacity); pool != nil {
		if free, ok := pool.Get().(*[]byte); ok {
			return (*free)[:0]
		}
	}
	return make([]byte, 0, capacity)
}

// put recycles a buffer that is no longer used. Buffers that did not come from get are left to the
// garbage collector.
func (b *buffers) put(buffer []byte) {
	if pool := b.pool(cap(buffer)); pool != nil {
		pool.Put(&buffer)
	}
}
