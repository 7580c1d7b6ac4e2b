package enrich

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A recording is a session's frames in order, which can be cut into chunks anywhere.
type recording []schema.Frame

// onTerminal is the operation with a terminal.
func onTerminal(op *schema.Operation) *schema.Operation {
	interactive := *op
	interactive.Interactive, interactive.Width, interactive.Height = true, 40, 10
	return &interactive
}

// randomRecording returns a session with two streams, resizes, and an end.
func randomRecording(t testing.TB, rng *rand.Rand, op *schema.Operation, size int) recording {
	t.Helper()
	at := t0
	start, err := schema.StartFrame(at, op)
	if err != nil {
		t.Fatal(err)
	}
	r := recording{start}
	for size > 0 {
		at = at.Add(time.Duration(rng.Int64N(int64(time.Second))))
		if rng.IntN(15) == 0 {
			resize, err := schema.DetailFrame(schema.FrameResize, at, &schema.Detail{Width: 1 + rng.IntN(200), Height: 24})
			if err != nil {
				t.Fatal(err)
			}
			r = append(r, resize)
			continue
		}
		output := hostile(rng, 1+rng.IntN(1000))
		if op.Interactive {
			output = hostileTerminal(rng, 1+rng.IntN(1000))
		}
		size -= len(output)
		r = append(r, schema.Frame{Kind: schema.FrameKind(rng.IntN(2)), Time: at.UnixNano(), Payload: output})
	}
	status := 3
	end, err := schema.DetailFrame(schema.FrameEnd, at, &schema.Detail{ExitStatus: &status, Reason: "exit"})
	if err != nil {
		t.Fatal(err)
	}
	return append(r, end)
}

// shown returns the output of the recording, by stream.
func (r recording) shown() (shown [2][]byte) {
	for _, f := range r {
		if f.Kind.IsOutput() {
			shown[f.Kind.Stream()] = append(shown[f.Kind.Stream()], f.Payload...)
		}
	}
	return shown
}

// chunks cuts the recording into chunks: cut determines, before each frame, whether a chunk ends
// there, and at which byte of the frame another one does (0: none).
func (r recording) chunks(cut func(size int) (before bool, within int)) (all []schema.Chunk) {
	var c schema.Chunk
	flush := func() {
		if len(c.Frames) > 0 {
			all = append(all, c)
			c = after(c)
		}
	}
	for _, f := range r {
		before, within := cut(len(f.Payload))
		if before {
			flush()
		}
		if f.Kind.IsOutput() && 0 < within && within < len(f.Payload) {
			c.Frames = append(c.Frames, schema.Frame{Kind: f.Kind, Time: f.Time, Payload: f.Payload[:within]})
			flush()
			f.Payload = f.Payload[within:]
		}
		c.Frames = append(c.Frames, f)
	}
	flush()
	return all
}

func randomCuts(rng *rand.Rand) func(int) (bool, int) {
	return func(size int) (bool, int) { return rng.IntN(3) == 0, rng.IntN(2) * rng.IntN(size+1) }
}

// logs returns the bytes of the records, by stream.
func logs(records []schema.Record) (logs [2][]byte) {
	for _, r := range records {
		logs[r.Stream] = append(logs[r.Stream], r.Log...)
	}
	return logs
}

// same fails unless the records are equal.
func same(t testing.TB, got, want []schema.Record) {
	t.Helper()
	for i := range want {
		if i >= len(got) {
			t.Fatalf("%d records, expected %d", len(got), len(want))
		}
		g, w := &got[i], &want[i]
		if g.Sequence != w.Sequence || g.Offset != w.Offset || g.Event != w.Event || g.Stream != w.Stream || g.Partial != w.Partial ||
			g.Time != w.Time || !bytes.Equal(g.Log, w.Log) || !bytes.Equal(g.Text, w.Text) || g.Digest != w.Digest ||
			g.TextDigest != w.TextDigest || !bytes.Equal(g.Timing, w.Timing) {
			t.Fatalf("record %d is\n%+v\nexpected\n%+v", i, g, w)
		}
	}
	if len(got) > len(want) {
		t.Fatalf("%d records, expected %d", len(got), len(want))
	}
}

// enrichAll adds all chunks to a new transcript.
func enrichAll(t testing.TB, op *schema.Operation, k *Key, all []schema.Chunk) []schema.Record {
	t.Helper()
	tr, err := New(op, k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if err := tr.Add(&all[i], t0); err != nil {
			t.Fatal(err)
		}
	}
	records, _ := take(t, tr, new(schema.Decoder))
	return records
}

func TestRepeatedChunks(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		op := op
		if seed%2 == 1 {
			op = onTerminal(op)
		}
		r := randomRecording(t, rng, op, 60_000)
		all := r.chunks(randomCuts(rng))
		want := enrichAll(t, op, k, all)
		checkRecords(t, want)
		checkCuts(t, want)
		if got := logs(want); !bytes.Equal(got[0], r.shown()[0]) || !bytes.Equal(got[1], r.shown()[1]) {
			t.Fatalf("seed %d: not what was shown", seed)
		}
		// The same session in other chunks has the same records.
		same(t, enrichAll(t, op, k, r.chunks(randomCuts(rng))), want)
		// So has one with repeated chunks that are cut elsewhere, so that they overlap the known ones by
		// any part, and each of which is first tried too early.
		tr, err := New(op, k, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			known := tr.Received()
			if i+1 < len(all) && !known.Reaches(Progress{all[i+1].Offset, all[i+1].Events}) {
				if err := tr.Add(&all[i+1], t0); !errors.Is(err, ErrAhead) || tr.Received() != known {
					t.Fatalf("seed %d: chunk %d before chunk %d: %v", seed, i+1, i, err)
				}
			}
			if err := tr.Add(&all[i], t0); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(20) == 0 {
				for _, c := range r.chunks(randomCuts(rng)) {
					if !tr.Received().Reaches(Progress{c.Offset, c.Events}) {
						break
					}
					if rng.IntN(2) == 0 {
						if err := tr.Add(&c, t0); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		got, _ := take(t, tr, new(schema.Decoder))
		same(t, got, want)
	}
}

// TestResumeMatchesUninterruptedRun: a transcript that is resumed after any of its segments has the
// same records as an uninterrupted one.
func TestResumeMatchesUninterruptedRun(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		op := op
		if seed%2 == 1 {
			op = onTerminal(op)
		}
		all := randomRecording(t, rng, op, 40_000).chunks(randomCuts(rng))
		checkResumes(t, op, k, all, enrichAll(t, op, k, all))
	}
}

func checkResumes(t testing.TB, op *schema.Operation, k *Key, all []schema.Chunk, want []schema.Record) {
	t.Helper()
	tr, err := New(op, k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var d schema.Decoder
	var got []schema.Record
	for i := range all {
		if err := tr.Add(&all[i], t0); err != nil {
			t.Fatal(err)
		}
		records, last := take(t, tr, &d)
		if last == nil {
			continue
		}
		got = append(got, records...)
		if tr, err = Resume(last, k, time.Now()); err != nil {
			t.Fatal(err)
		}
		if tr.Ended() != (last.Records[len(last.Records)-1].Event == schema.EventEnd) || tr.Ready() || tr.hasPending() {
			t.Fatalf("resumed after record %d: ended %t, ready %t, pending %t", last.Resume.Sequence, tr.Ended(), tr.Ready(), tr.hasPending())
		}
		for j := range i + 1 {
			if err := tr.Add(&all[j], t0); err != nil {
				t.Fatal(err)
			}
		}
		if tr.Ready() {
			t.Fatalf("resumed after record %d: what was recorded is recorded again", last.Resume.Sequence)
		}
	}
	same(t, got, want)
}

func TestResumeRefuses(t *testing.T) {
	k := testKey(t)
	s := newScript(t)
	s.show(schema.FrameStdout, "a\n")
	_, last := take(t, s.tr, &s.d)
	damaged := *last
	damaged.Resume.Digest = []byte("no digest")
	if _, err := Resume(&damaged, k, time.Now()); err == nil {
		t.Error("a damaged digest was accepted")
	}
	live := *last
	op := *last.Operation
	live.Operation = &op
	op.UserDocument = document(t, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	if _, err := Resume(&live, k, time.Now()); !errors.Is(err, ErrLiveDocument) {
		t.Errorf("a live document: %v", err)
	}
	if _, err := New(&op, k, time.Now()); !errors.Is(err, ErrLiveDocument) {
		t.Errorf("a live document: %v", err)
	}
	op.UserDocument = ""
	if _, err := New(&op, k, time.Now()); !errors.Is(err, ErrBadDocument) {
		t.Errorf("no document: %v", err)
	}
}

func TestLost(t *testing.T) {
	s := newScript(t)
	s.show(schema.FrameStdout, "one\ntw")
	s.show(schema.FrameStderr, "\x1b]0;")
	missing := s.chunk
	s.chunk.Offset[0] += 100
	s.chunk.Offset[1] += 11
	s.chunk.Events++
	s.at = time.Second
	s.chunk.Frames = []schema.Frame{{Kind: schema.FrameStderr, Time: t0.Add(s.at).UnixNano(), Payload: []byte("on\n")}}
	if err := s.tr.Add(&s.chunk, t0); !errors.Is(err, ErrAhead) {
		t.Fatalf("a chunk after missing ones: %v", err)
	}
	if err := s.tr.Lost(&s.chunk, "a test", t0.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := (Progress{s.chunk.Offset, s.chunk.Events}); s.tr.Received() != got {
		t.Fatalf("received %+v, expected %+v", s.tr.Received(), got)
	}
	if err := s.tr.Add(&s.chunk, t0); err != nil {
		t.Fatal(err)
	}
	s.chunk = after(s.chunk)
	// The missing chunk arrives after all: it is skipped.
	missing.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: t0.UnixNano(), Payload: []byte("o\n")}}
	if err := s.tr.Add(&missing, t0); err != nil {
		t.Fatal(err)
	}
	s.end()
	records, last := take(t, s.tr, &s.d)
	want := `"one\n" "tw" 2:"\x1b]0;" [111 bytes are missing here: a test] 2:"on\n" [session ended: exit, status 0]`
	if got := brief(records); got != want {
		t.Fatalf("records are\n%s\nexpected\n%s", got, want)
	}
	if string(records[4].Text) != "on" {
		t.Errorf("the text after a gap is %q", records[4].Text)
	}
	if gap := records[3]; gap.Offset != 10 || *gap.Detail.Bytes != 111 || gap.Time != t0.Add(time.Second).UnixNano() {
		t.Errorf("the gap is %+v of %d bytes", gap, *gap.Detail.Bytes)
	}
	if records[4].Offset != 121 || *records[5].Detail.Bytes != 124 {
		t.Errorf("after the gap the offset is %d, at the end %d bytes", records[4].Offset, *records[5].Detail.Bytes)
	}
	if last.Resume.Consumed != [2]uint64{106, 18} {
		t.Errorf("consumed %d", last.Resume.Consumed)
	}
}

// TestGapIsInOneSegment: every segment with a position after the missing bytes contains the gap.
func TestGapIsInOneSegment(t *testing.T) {
	s := newScript(t)
	s.show(schema.FrameStdout, "a")
	for s.tr.Size() < schema.MaxSegment-1000 { // the next record but one fills the segment
		s.show(schema.FrameStderr, strings.Repeat("x", 400)+"\n")
	}
	s.show(schema.FrameStderr, strings.Repeat("x", 2000))
	c := s.chunk
	c.Offset[0] += 50
	if err := s.tr.Lost(&c, "a test", t0); err != nil {
		t.Fatal(err)
	}
	segments := 0
	for s.tr.Ready() {
		segment, err := s.tr.Take()
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := s.d.Segment(segment.Data)
		if err != nil {
			t.Fatal(err)
		}
		segments++
		hasGap := decoded.Records[len(decoded.Records)-1].Event == schema.EventGap
		if past := decoded.Resume.Consumed[0] >= 51; past != hasGap {
			t.Fatalf("segment %d: consumed %d, has the gap: %t", segments, decoded.Resume.Consumed, hasGap)
		}
	}
	if segments < 2 {
		t.Fatal("only one segment: the test is not effective")
	}
}

// TestEndWithOldOrdinal: the end that a gateway records for a session of its predecessor may miss
// the last events.
func TestEndWithOldOrdinal(t *testing.T) {
	s := newScript(t)
	resize := &schema.Detail{Width: 80, Height: 24}
	s.event(schema.FrameResize, resize)
	known := s.chunk
	s.show(schema.FrameStdout, "a\n")
	s.event(schema.FrameResize, resize)
	s.chunk = known
	s.event(schema.FrameEnd, &schema.Detail{Reason: "gateway lost"})
	if !s.tr.Ended() {
		t.Fatal("not ended")
	}
	got := s.take()
	want := `[terminal is now 80 by 24] "a\n" [terminal is now 80 by 24] [session ended: gateway lost]`
	if b := brief(got); b != want {
		t.Errorf("records are\n%s\nexpected\n%s", b, want)
	}
	checkRecords(t, got)
}

// TestCorruptEvent: an invalid event is an error, and is not rendered.
func TestCorruptEvent(t *testing.T) {
	s := newScript(t)
	s.chunk.Frames = []schema.Frame{{Kind: schema.FrameResize, Time: t0.UnixNano(), Payload: []byte("secret")}}
	err := s.tr.Add(&s.chunk, t0)
	if !errors.Is(err, schema.ErrCorrupt) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if s.tr.Ready() {
		t.Errorf("%s", brief(s.take()))
	}
}

// TestEmptySegment: without finished records there is no segment.
func TestEmptySegment(t *testing.T) {
	s := newScript(t)
	s.show(schema.FrameStdout, "a")
	if s.tr.Ready() || !s.tr.hasPending() || s.tr.Size() != 0 {
		t.Errorf("ready %t, pending %t, size %d", s.tr.Ready(), s.tr.hasPending(), s.tr.Size())
	}
	if _, err := s.tr.Take(); err == nil {
		t.Error("an empty segment was made")
	}
}

// TestSegments: long output becomes segments of limited size with increasing positions.
func TestSegments(t *testing.T) {
	s := newScript(t)
	for range 40 {
		s.show(schema.FrameStdout, strings.Repeat(strings.Repeat("\xff", MaxLine-1)+"\n", 2))
	}
	size := s.tr.Size()
	var position Progress
	var segments int
	for s.tr.Ready() {
		segment, err := s.tr.Take()
		if err != nil {
			t.Fatal(err)
		}
		segments++
		if len(segment.Data) > schema.MaxSegment+5*MaxLine || len(segment.Data) > 1<<20 {
			t.Fatalf("a segment of %d bytes", len(segment.Data))
		}
		if segment.Position == position || !segment.Position.Reaches(position) || segment.First != t0.UnixNano() {
			t.Fatalf("segment %d: position %+v after %+v, first at %d", segments, segment.Position, position, segment.First)
		}
		position = segment.Position
		if left := s.tr.Size(); left >= size {
			t.Fatalf("size %d after a segment was taken, %d before", left, size)
		} else {
			size = left
		}
	}
	if position != s.tr.Received() || size != 0 || segments < 4 {
		t.Errorf("%d segments to %+v of %+v, size %d", segments, position, s.tr.Received(), size)
	}
}

// hasPending reports whether bytes are waiting for the end of their line.
func (t *Transcript) hasPending() bool { return len(t.lines[0].pending)+len(t.lines[1].pending) > 0 }
