package enrich

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// BenchmarkRecordings enriches the recordings that all measurements use, in chunks of 32 KiB like
// those of the capture: all of them one after the other in one session, repeatedly.
func BenchmarkRecordings(b *testing.B) {
	casts, err := filepath.Glob(filepath.Join("..", "bench", "corpus", "recordings", "*.cast"))
	if err != nil || len(casts) == 0 {
		b.Fatalf("%d recordings: %v", len(casts), err)
	}
	var (
		chunks       []schema.Chunk
		frames       []schema.Frame
		began, after time.Duration
		inChunk      int
		bytesShown   int
		lines        int
	)
	op := *testOperation(b, testKey(b))
	op.Interactive = true
	for _, cast := range casts {
		width, height, all := load(b, cast)
		op.Width, op.Height = width, height
		for _, s := range all {
			after = began + s.at
			frames = append(frames, schema.Frame{Time: t0.Add(after).UnixNano(), Payload: s.bytes})
			lines += bytes.Count(s.bytes, []byte("\n"))
			bytesShown += len(s.bytes)
			if inChunk += len(s.bytes); inChunk >= 32<<10 {
				chunks, frames, inChunk = append(chunks, schema.Chunk{Frames: frames}), nil, 0
			}
		}
		began = after
	}
	chunks = append(chunks, schema.Chunk{Frames: frames})
	k := testKey(b)
	tr, err := New(&op, k, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(bytesShown))
	b.ReportAllocs()
	var offset uint64
	for b.Loop() {
		for i := range chunks {
			c := &chunks[i]
			c.Offset[schema.Stdout] = offset
			if err := tr.Add(c, t0); err != nil {
				b.Fatal(err)
			}
			for _, f := range c.Frames {
				offset += uint64(len(f.Payload))
			}
			for tr.Ready() {
				made, err := tr.Take()
				if err != nil {
					b.Fatal(err)
				}
				tr.buffers.Put(made.Data)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
}
