package schema

import (
	"fmt"
	"testing"
)

// benchSegment returns n lines of a colored listing, about 100 bytes each.
func benchSegment(n int) *Segment {
	s := &Segment{Operation: testOperation(), Resume: testSegment().Resume}
	var offset uint64
	for i := range n {
		log := fmt.Appendf(nil, "-rw-r--r-- 1 root root %8d Mar  1 09:30 \x1b[01;32mpackage-%05d_1.0-1_amd64.deb\x1b[0m\r\n", i*37, i)
		text := fmt.Appendf(nil, "-rw-r--r-- 1 root root %8d Mar  1 09:30 package-%05d_1.0-1_amd64.deb", i*37, i)
		s.Records = append(s.Records, Record{Sequence: uint64(i) + 1, Offset: offset, Time: 1_772_357_400_000_000_000 + int64(i)*1000,
			Log: log, Text: text, Timing: fmt.Appendf(nil, "0:%d", len(log))})
		offset += uint64(len(log))
	}
	return s
}

const benchRecords = 500

func reportRecords(b *testing.B, bytes int) {
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.N)*benchRecords/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkAppendSegment(b *testing.B) {
	s := benchSegment(benchRecords)
	op := operationJSON(b, s.Operation)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = AppendSegment(dst[:0], op, s); err != nil {
			b.Fatal(err)
		}
	}
	reportRecords(b, len(dst))
}

func addAll(b *SegmentBuilder, s *Segment) error {
	for i := range s.Records {
		if err := b.Add(&s.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkSegmentBuilder(b *testing.B) {
	s := benchSegment(benchRecords)
	op := operationJSON(b, s.Operation)
	var builder SegmentBuilder
	var data []byte
	b.ReportAllocs()
	for b.Loop() {
		builder.Begin(data[:0], op)
		err := addAll(&builder, s)
		if err == nil {
			data, err = builder.Finish(&s.Resume)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	reportRecords(b, len(data))
}

func BenchmarkDecodeSegment(b *testing.B) {
	data := encodeSegment(b, benchSegment(benchRecords))
	var d Decoder
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Segment(data); err != nil {
			b.Fatal(err)
		}
	}
	reportRecords(b, len(data))
}

func BenchmarkAppendRecord(b *testing.B) {
	s := benchSegment(benchRecords)
	var e Encoder
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = dst[:0]
		for i := range s.Records {
			var err error
			if dst, err = e.AppendRecord(dst, s.Operation, &s.Records[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportRecords(b, len(dst))
}

func BenchmarkChunk(b *testing.B) {
	c := testChunk(b)
	var got Chunk
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendChunk(dst[:0], c)
		if err := DecodeChunk(dst, &got); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(dst)))
}

// In the steady state records are encoded without allocations, as the benchmarks show.
func TestAllocations(t *testing.T) {
	s := benchSegment(benchRecords)
	op := operationJSON(t, s.Operation)
	data := encodeSegment(t, s)
	dst := make([]byte, 0, 4*len(data))
	var e Encoder
	var d Decoder
	var builder SegmentBuilder
	chunk := AppendChunk(nil, testChunk(t))
	var c Chunk
	for _, test := range []struct {
		name string
		max  float64
		run  func() error
	}{
		{"AppendSegment", 0, func() error { _, err := AppendSegment(dst, op, s); return err }},
		{"SegmentBuilder.Add", 0, func() error { builder.Begin(dst, op); return addAll(&builder, s) }},
		{"Decoder.Segment", 2, func() error { _, err := d.Segment(data); return err }}, // the Segment and its Records
		{"Encoder.AppendRecord", 0, func() error { _, err := e.AppendRecord(dst, s.Operation, &s.Records[7]); return err }},
		{"DecodeChunk", 0, func() error { return DecodeChunk(chunk, &c) }},
	} {
		if err := test.run(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := testing.AllocsPerRun(100, func() { test.run() }); got > test.max {
			t.Errorf("%s allocates %v times, want at most %v", test.name, got, test.max)
		}
	}
}
