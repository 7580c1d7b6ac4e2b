package enrich

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func testKey(t testing.TB) *Key {
	t.Helper()
	k, err := LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testOperation(t testing.TB, k *Key) *schema.Operation {
	t.Helper()
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	doc, err := k.Mint("https://auth.example.com", user, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &schema.Operation{ID: "42", App: "web", Stack: "default", User: user, UserDocument: doc}
}

// chunks cuts a session's output into chunks of the sizes that cut returns, with start and end.
func chunks(t testing.TB, op *schema.Operation, output []byte, cut func() int) [][]byte {
	t.Helper()
	at := time.Unix(1700000000, 0)
	start, err := schema.StartFrame(at, op)
	if err != nil {
		t.Fatal(err)
	}
	all := [][]byte{schema.AppendChunk(nil, &schema.Chunk{Frames: []schema.Frame{start}})}
	c := schema.Chunk{Ordinal: 1, Events: 1}
	for len(output) > 0 {
		n := min(cut(), len(output))
		at = at.Add(time.Millisecond)
		c.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: at.UnixNano(), Payload: output[:n]}}
		all = append(all, schema.AppendChunk(nil, &c))
		c.Ordinal++
		c.Offset[0] += uint64(n)
		output = output[n:]
	}
	status := 0
	end, err := schema.DetailFrame(schema.FrameEnd, at, &schema.Detail{ExitStatus: &status, Reason: "exit"})
	if err != nil {
		t.Fatal(err)
	}
	c.Frames = []schema.Frame{end}
	return append(all, schema.AppendChunk(nil, &c))
}

func add(t testing.TB, tr *Transcript, data []byte) error {
	t.Helper()
	var c schema.Chunk
	if err := schema.DecodeChunk(data, &c); err != nil {
		t.Fatal(err)
	}
	return tr.Add(&c, time.Unix(1700000000, 0))
}

// checkRecords checks the invariants of any transcript, and returns the bytes.
func checkRecords(t testing.TB, records []schema.Record) []byte {
	t.Helper()
	var log []byte
	bytesSoFar, texts := sha256.New(), sha256.New()
	for i := range records {
		r := &records[i]
		if r.Sequence != uint64(i+1) || r.Offset != uint64(len(log)) {
			t.Fatalf("record %d: sequence %d at offset %d, expected offset %d", i, r.Sequence, r.Offset, len(log))
		}
		if len(r.Log) > MaxLine {
			t.Fatalf("record %d has %d bytes", i, len(r.Log))
		}
		log = append(log, r.Log...)
		bytesSoFar.Write(r.Log)
		if r.Digest != schema.Digest(bytesSoFar.Sum(nil)) {
			t.Fatalf("record %d: wrong digest", i)
		}
		texts.Write(append(bytes.Clone(r.Text), '\n'))
		if r.TextDigest != schema.Digest(texts.Sum(nil)) {
			t.Fatalf("record %d: wrong text digest", i)
		}
		for _, c := range string(r.Text) {
			if c < 0x20 || 0x7f <= c && c < 0xa0 {
				t.Fatalf("record %d: control character %U in its text", i, c)
			}
		}
	}
	return log
}

func take(t testing.TB, tr *Transcript, d *schema.Decoder) (records []schema.Record, last *schema.Segment) {
	t.Helper()
	for tr.Ready() {
		s, err := tr.Take()
		if err != nil {
			t.Fatal(err)
		}
		last, err = d.Segment(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, last.Records...)
	}
	return records, last
}

// hostile is output with everything that is difficult for the division into lines.
func hostile(rng *rand.Rand, size int) []byte {
	pieces := []string{"plain text\r\n", "\x1b[31mred\x1b[0m", "größe 日本語 🎉", "\xff\xfe\x80", "\x1b]0;title\x07", "\x1b]0;unfinished",
		"\x1bP1$r\x1b\\", "\x00", "\x1b[", "\x1b", "\xe6\x97", "\n", "\r", "\b\b", "\u2028", "\u009b31m", "\x1b[3\n1m", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
	var out []byte
	for len(out) < size {
		if rng.IntN(400) == 0 {
			out = append(out, bytes.Repeat([]byte(pieces[rng.IntN(len(pieces))]), 2000)...)
		}
		out = append(out, pieces[rng.IntN(len(pieces))]...)
	}
	return out
}

func TestTranscriptIsIndependentOfChunkBoundaries(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		output := hostile(rng, 300_000)
		var d schema.Decoder
		tr, err := New(op, k, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var records []schema.Record
		for _, c := range chunks(t, op, output, func() int { return 1 + rng.IntN(1<<rng.IntN(16)) }) {
			if err := add(t, tr, c); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(3) == 0 {
				more, _ := take(t, tr, &d)
				records = append(records, more...)
			}
		}
		if !tr.Ended() {
			t.Fatalf("seed %d: not ended", seed)
		}
		more, _ := take(t, tr, &d)
		records = append(records, more...)
		checkSigned(t, records)
		if got := checkRecords(t, records); !bytes.Equal(got, output) {
			t.Fatalf("seed %d: %d bytes recorded, %d shown", seed, len(got), len(output))
		}
		if records[len(records)-1].Event != schema.EventEnd || *records[len(records)-1].Detail.Bytes != uint64(len(output)) {
			t.Fatalf("seed %d: the end is wrong: %+v", seed, records[len(records)-1].Detail)
		}
	}
}

func TestTranscriptResumesAtAnySegment(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		output := hostile(rng, 100_000)
		all := chunks(t, op, output, func() int { return 1 + rng.IntN(3000) })
		var d schema.Decoder
		tr, err := New(op, k, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var records []schema.Record
		var last *schema.Segment
		for i := 0; i < len(all); i++ {
			if err := add(t, tr, all[i]); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(2) == 0 {
				if more, l := take(t, tr, &d); l != nil {
					records, last = append(records, more...), l
				}
			}
			if last != nil && rng.IntN(10) == 0 { // added chunks without a segment are lost
				if tr, err = Resume(last, k, time.Now()); err != nil {
					t.Fatal(err)
				}
				i = rng.IntN(i + 1)
				for add(t, tr, all[i]) == ErrAhead {
					i--
				}
			}
		}
		more, _ := take(t, tr, &d)
		records = append(records, more...)
		checkSigned(t, records)
		if got := checkRecords(t, records); !bytes.Equal(got, output) {
			t.Fatalf("seed %d: %d bytes recorded, %d shown", seed, len(got), len(output))
		}
	}
}
