package schema

import (
	"bytes"
	"testing"
)

// TestSegmentBuilder: records encoded one after the other equal records encoded together, whatever
// the buffer contained.
func TestSegmentBuilder(t *testing.T) {
	withTerminal := testSegment()
	withTerminal.Resume.Terminal = []byte("a terminal")
	late := benchSegment(50) // as long after the session's start as the type permits
	for i := range late.Records {
		late.Records[i].Sequence += 1 << 62
		late.Records[i].Offset += 1 << 62
		late.Records[i].Time = -1 << 62
	}
	var b SegmentBuilder // reused
	for name, s := range map[string]*Segment{"version 1": testSegment(), "version 2": withTerminal, "many records": benchSegment(2000), "large numbers": late} {
		op := operationJSON(t, s.Operation)
		want, err := AppendSegment(nil, op, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, len(op) + maxHead, 10 * len(want)} {
			b.Begin(bytes.Repeat([]byte{0xa5}, size), op)
			for i := range s.Records {
				r := s.Records[i]
				wrong := r
				wrong.Sequence++
				if i > 0 && b.Add(&wrong) == nil {
					t.Fatalf("%s: record %d was accepted after record %d", name, wrong.Sequence, r.Sequence-1)
				}
				r.Log, r.Text = bytes.Clone(r.Log), bytes.Clone(r.Text)
				if err := b.Add(&r); err != nil {
					t.Fatal(err)
				}
				clear(r.Log) // nothing of it is retained
				clear(r.Text)
			}
			if b.Records() != len(s.Records) || b.First() != s.Records[0].Time || b.Size() >= len(want) {
				t.Errorf("%s: %d records from %d on in %d bytes", name, b.Records(), b.First(), b.Size())
			}
			got, err := b.Finish(&s.Resume)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, in %d bytes: %v\n%x, expected\n%x", name, size, err, got, want)
			}
			if b.Records() != 0 || b.Size() != 0 {
				t.Errorf("%s: %d records of %d bytes after the segment", name, b.Records(), b.Size())
			}
		}
	}
	if _, err := b.Finish(new(Resume)); err == nil || err.Error() != "encode segment: no records" {
		t.Errorf("a segment without records: %v", err)
	}
}
