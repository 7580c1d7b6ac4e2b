package session

import "sync"

// buffers lends out the memory that busy sessions' output is in on its way, so that it is not made
// and thrown away for every chunk. What is small is not worth it. The zero value is ready.
type buffers struct {
	frames, chunks, large sync.Pool // of *[]byte, of the capacities below
}

const (
	// smallBuffer is up to what size a buffer is made and left to the collector.
	smallBuffer = 4 << 10
	// frameBuffer holds what a frame may have, chunkBuffer a chunk that has come to chunkBytes, and
	// largeBuffer the largest one with the frame that made it full; each of the latter with what the
	// encoding adds.
	frameBuffer = chunkBytes
	chunkBuffer = 2*chunkBytes + 4<<10
	largeBuffer = largeChunkBytes + chunkBytes + 16<<10
)

// pool is where the buffers of a capacity are; nil for others.
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

// get gives an empty buffer with room for size bytes. It is the caller's until it gives it to put,
// which it need not.
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

// put takes back a buffer, of which nothing may be used any more. Others than get's are left to the
// collector.
func (b *buffers) put(buffer []byte) {
	if pool := b.pool(cap(buffer)); pool != nil {
		pool.Put(&buffer)
	}
}
