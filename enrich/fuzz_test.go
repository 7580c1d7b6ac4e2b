package enrich

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// FuzzTranscript adds any bytes in any frames and chunks. Each byte of how takes a frame off the
// output: its two high bits select the stream, a resize or a long wait, the others the length and
// the end of the chunk.
func FuzzTranscript(f *testing.F) {
	for _, test := range texts {
		if len(test.piece) < 1000 {
			f.Add([]byte(test.piece), []byte{1, 2, 3, 0x41, 0x81, 0xc0, 7})
		}
	}
	f.Add(bytes.Repeat([]byte("\x1b]0;unfinished"), 3000), bytes.Repeat([]byte{0x1f}, 100))
	f.Add(bytes.Repeat([]byte("日"), 12000), bytes.Repeat([]byte{0x3e, 0x1f, 0xdf}, 100))
	f.Add([]byte("out\nerr\nmore"), []byte{4, 0x44, 0x80, 4})
	f.Add([]byte("a\x1b]0;x\ny\nz\x07b\x1bPq\n#0\n\x1b[mseen\n\x1bkno\nend\n"), bytes.Repeat([]byte{2, 7, 0xc3, 1, 4}, 20))
	f.Add([]byte("$ for i in 1 2\r\n  rm\r\ndone\x1b[2A\r\x1b[9C7\x1b[2B\r\x1b[4C\r\n\x1b[8mhidden\r\nstill\x1b[28m\r\x1b[Kok\r\n"), bytes.Repeat([]byte{6, 5, 4, 2}, 30))
	f.Add(append([]byte("\x1b]1337;File=:\n"), bytes.Repeat([]byte("QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD\n"), 500)...), bytes.Repeat([]byte{0x16, 0x14}, 60))
	k := testKey(f)
	op := onTerminal(testOperation(f, k))
	f.Fuzz(func(t *testing.T, output, how []byte) {
		var r recording
		var times [2][]int64 // of each byte
		var ends []bool      // of a chunk, after each frame
		at := t0
		for _, h := range how {
			at = at.Add(700 * time.Millisecond)
			kind := schema.FrameStdout
			switch h >> 6 {
			case 1:
				kind = schema.FrameStderr
			case 2:
				resize, err := schema.DetailFrame(schema.FrameResize, at, &schema.Detail{Width: int(h), Height: 24})
				if err != nil {
					t.Fatal(err)
				}
				r, ends = append(r, resize), append(ends, h&1 == 0)
				continue
			case 3:
				at = at.Add(MaxAge)
			}
			n := min(1<<(h&0x1e>>1), len(output))
			if n == 0 {
				continue
			}
			r = append(r, schema.Frame{Kind: kind, Time: at.UnixNano(), Payload: output[:n]})
			ends = append(ends, h&1 == 0)
			for range n {
				times[kind.Stream()] = append(times[kind.Stream()], at.UnixNano())
			}
			output = output[n:]
		}
		end, err := schema.DetailFrame(schema.FrameEnd, at, &schema.Detail{Reason: "exit"})
		if err != nil {
			t.Fatal(err)
		}
		r, ends = append(r, end), append(ends, false)

		i := -1
		all := r.chunks(func(int) (bool, int) { i++; return i > 0 && ends[i-1], 0 })
		records := enrichAll(t, op, k, all)
		checkRecords(t, records)
		checkCuts(t, records)
		if got, want := logs(records), r.shown(); !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
			t.Fatalf("recorded %q, shown %q", got, want)
		}
		var seen [2]int
		for _, record := range records {
			if n := len(record.Log); n > 0 {
				checkTiming(t, &record, times[record.Stream][seen[record.Stream]:seen[record.Stream]+n])
				seen[record.Stream] += n
			}
		}
		if last := records[len(records)-1]; last.Event != schema.EventEnd || *last.Detail.Bytes != uint64(seen[0]+seen[1]) {
			t.Fatalf("the last record is %+v", last)
		}
		checkResumes(t, op, k, all, records)
		single := r.chunks(func(int) (bool, int) { return true, 0 }) // every frame alone
		same(t, enrichAll(t, op, k, single), records)
	})
}

// BenchmarkTranscript enriches chunks of lines like those of typical commands.
func BenchmarkTranscript(b *testing.B) {
	var plain, colour, echo strings.Builder
	for i := range 300 {
		fmt.Fprintf(&plain, "2026-01-02T03:04:05.%06dZ INFO request id=%08x method=GET path=/accounts/%d status=200 duration=12ms\r\n", i, i*7919, i)
		fmt.Fprintf(&colour, "\x1b[0m\x1b[01;34mdirectory-%03d\x1b[0m  -rw-r--r-- 1 app app %7d größe \x1b[01;32mfile-%03d\x1b[0m\r\n", i, i*4096, i)
		fmt.Fprintf(&echo, "\x1b[?2004happ@web-42:~$ ls -x\b \bl /srv/%d\r\n\x1b[?2004l\r", i)
	}
	for _, test := range []struct {
		name, output string
		frame        int // bytes per frame; a chunk is 32 KiB
	}{
		{"plain", plain.String(), 4096}, {"colour", colour.String(), 4096}, {"echo", echo.String(), 7},
	} {
		b.Run(test.name, func(b *testing.B) {
			k := testKey(b)
			tr, err := New(onTerminal(testOperation(b, k)), k, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			lines, output := strings.Count(test.output, "\n"), []byte(test.output)
			var c schema.Chunk
			b.SetBytes(int64(len(test.output)))
			b.ReportAllocs()
			at := t0
			for b.Loop() {
				c.Frames = c.Frames[:0]
				for rest := output; len(rest) > 0; {
					n := min(test.frame, len(rest))
					at = at.Add(time.Millisecond)
					c.Frames = append(c.Frames, schema.Frame{Kind: schema.FrameStdout, Time: at.UnixNano(), Payload: rest[:n]})
					rest = rest[n:]
				}
				if err := tr.Add(&c, at); err != nil {
					b.Fatal(err)
				}
				for tr.Ready() {
					made, err := tr.Take()
					if err != nil {
						b.Fatal(err)
					}
					tr.buffers.Put(made.Data)
				}
				c.Offset[0] += uint64(len(test.output))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
		})
	}
}
