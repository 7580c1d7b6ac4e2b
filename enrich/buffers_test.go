package enrich

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestTranscriptsShareBuffers: sessions that are enriched alternately with the same buffers, whose
// published contents are overwritten, produce the same records as each one alone.
func TestTranscriptsShareBuffers(t *testing.T) {
	k := testKey(t)
	op := onTerminal(testOperation(t, k))
	var shared Buffers
	var got, want [4]bytes.Buffer
	var chunksOf [4][][]byte
	var transcripts [4]*Transcript
	var d schema.Decoder
	reused := 0
	took := func(tr *Transcript, into *bytes.Buffer, give bool) {
		for tr.Ready() {
			s, err := tr.Take()
			if err != nil {
				t.Fatal(err)
			}
			segment, err := d.Segment(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range segment.Records {
				fmt.Fprintf(into, "%d %d %q %q %s %x %x\n", r.Sequence, r.Offset, r.Log, r.Text, r.Timing, r.Digest, r.TextDigest)
			}
			if give {
				clear(s.Data[:cap(s.Data)]) // a later reader of the buffer sees other bytes
				shared.Put(s.Data)
				if cap(s.Data) >= minSpare {
					reused++
				}
			}
		}
	}
	for i := range transcripts {
		rng := rand.New(rand.NewPCG(uint64(i), 9))
		output := append(hostile(rng, 200_000), hostileTerminal(rng, 50_000)...)
		chunksOf[i] = chunks(t, op, output, func() int { return 1 + rng.IntN(30_000) })
		alone, err := New(op, k, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunksOf[i] {
			if err := add(t, alone, c); err != nil {
				t.Fatal(err)
			}
		}
		took(alone, &want[i], false)
		if transcripts[i], err = New(op, k, time.Now()); err != nil {
			t.Fatal(err)
		}
		transcripts[i].Use(&shared)
	}
	rng := rand.New(rand.NewPCG(1, 10))
	for left := len(chunksOf); left > 0; {
		i := rng.IntN(len(chunksOf))
		if len(chunksOf[i]) == 0 {
			continue
		}
		data := chunksOf[i][0]
		if err := add(t, transcripts[i], data); err != nil {
			t.Fatal(err)
		}
		clear(data) // nothing of it is retained
		if chunksOf[i] = chunksOf[i][1:]; len(chunksOf[i]) == 0 {
			left--
		}
		if rng.IntN(4) == 0 || len(chunksOf[i]) == 0 {
			took(transcripts[i], &got[i], true)
		}
	}
	for i := range got {
		if !transcripts[i].Ended() || !bytes.Equal(got[i].Bytes(), want[i].Bytes()) {
			t.Errorf("session %d, with others: %d bytes\n%.2000s, alone %d\n%.2000s", i, got[i].Len(), got[i].Bytes(), want[i].Len(), want[i].Bytes())
		}
	}
	if reused < 10 {
		t.Errorf("only %d buffers were reused: the test is not effective", reused)
	}
}

// TestTranscriptAllocations: in the steady state, a line that only appends to the screen allocates
// nothing.
func TestTranscriptAllocations(t *testing.T) {
	k := testKey(t)
	tr, err := New(onTerminal(testOperation(t, k)), k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tr.buffers.Put(make([]byte, 0, 1<<20))
	const lines = 100
	output := bytes.Repeat([]byte("\x1b[1mplain\x1b[m text, größe\r\nall plain\r\n"), lines/2)
	c := schema.Chunk{Frames: []schema.Frame{{Kind: schema.FrameStdout, Time: t0.UnixNano(), Payload: output}}}
	step := func() {
		if err := tr.Add(&c, t0); err != nil {
			t.Fatal(err)
		}
		c.Offset[0] += uint64(len(output))
	}
	step()
	if got := testing.AllocsPerRun(5, step); got > lines/10 { // one per call, and a segment now and then
		t.Errorf("%d lines allocate %v times", lines, got)
	}
}
