package session

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestBuffers(t *testing.T) {
	var b buffers
	for _, c := range []struct {
		size, capacity int
		lent           bool // put returns it to the pool
	}{
		{1, 1, false}, {smallBuffer, smallBuffer, false}, {smallBuffer + 1, frameBuffer, true}, {frameBuffer, frameBuffer, true},
		{frameBuffer + 1, chunkBuffer, true}, {chunkBuffer + 1, largeBuffer, true}, {largeBuffer, largeBuffer, true}, {largeBuffer + 1, largeBuffer + 1, false},
	} {
		got := b.get(c.size)
		if len(got) != 0 || cap(got) != c.capacity {
			t.Errorf("for %d bytes there is a buffer of %d of capacity %d, expected %d", c.size, len(got), cap(got), c.capacity)
		}
		if lent := b.pool(cap(got)) != nil; lent != c.lent {
			t.Errorf("%d bytes use the pool: %t", c.size, lent)
		}
		b.put(append(got, 'x'))
		if again := b.get(c.size); len(again) != 0 || cap(again) != c.capacity {
			t.Errorf("for %d bytes there is then a buffer of %d of capacity %d", c.size, len(again), cap(again))
		}
	}
}

// TestLargestChunkIsPooled: the largest chunks, which busy sessions publish, use pooled buffers.
func TestLargestChunkIsPooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, holdAll).start()
		r.write(schema.FrameStdout, make([]byte, chunkBytes))
		synctest.Wait()
		for range largeChunkBytes/chunkBytes + 1 {
			r.write(schema.FrameStdout, make([]byte, chunkBytes-1))
		}
		synctest.Wait()
		for i, want := range []int{chunkBuffer, largeBuffer} {
			if got := cap(r.tape.attempts[i].data); got != want {
				t.Errorf("chunk %d of %d bytes is in a buffer of %d, expected %d", i, len(r.tape.attempts[i].data), got, want)
			}
		}
		r.stop(errOver)
		<-r.done
	})
}

// TestRepeatedChunkIsNotRecycled: the memory of a chunk that was published again is not reused,
// because the stream that refused it, or did not respond, may still have it.
func TestRepeatedChunkIsNotRecycled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(a *attempt) {
			if a.id == "7-0" && a.repeat == 0 {
				a.refuse()
				return
			}
			a.ack()
		}).start()
		for i := range 5 {
			r.write(schema.FrameStdout, bytes.Repeat([]byte{byte('a' + i)}, chunkBytes))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if first := r.tape.attempts[0]; !bytes.Equal(first.data, first.copy) {
			t.Error("the memory of a refused chunk was reused")
		}
		if !slices.ContainsFunc(r.tape.attempts[2:], func(a *attempt) bool { return !bytes.Equal(a.data, a.copy) }) {
			t.Error("no memory was used again") // otherwise the test above proves nothing
		}
		r.finish(endFrame())
		<-r.done
		r.stop(errOver)
	})
}
