package schema

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

func TestChunkRoundTrip(t *testing.T) {
	roundTrip := func(c Chunk) bool {
		for i := range c.Frames {
			c.Frames[i].Kind %= FrameGap + 1
		}
		got := Chunk{Frames: make([]Frame, 3)} // reused
		data := AppendChunk([]byte("before"), &c)
		if err := DecodeChunk(data[len("before"):], &got); err != nil {
			t.Error(err)
			return false
		}
		return dumpChunk(&got) == dumpChunk(&c)
	}
	if err := quick.Check(roundTrip, nil); err != nil {
		t.Error(err)
	}
	for _, at := range []int64{math.MinInt64, -1, 0, math.MaxInt64} {
		if !roundTrip(Chunk{Ordinal: math.MaxUint64, Frames: []Frame{{Time: at}, {Time: math.MaxInt64}, {Time: math.MinInt64}}}) {
			t.Errorf("times at the limits are changed: %d", at)
		}
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	type quickRecord struct {
		Event, Stream     uint8
		Partial           bool
		Time              int64
		Log, Text, Timing []byte
		NewLine, SameText bool
		Digest            Digest
		Detail            Detail
	}
	roundTrip := func(sequence, offset uint64, records []quickRecord, resume Resume) bool {
		if len(records) == 0 {
			return true
		}
		if len(resume.Terminal) > 0 {
			resume.Terminal[0] &= 0x7f // no version of a terminal's state is proofMark
		}
		s := &Segment{Operation: testOperation(), Resume: resume}
		for _, q := range records {
			r := Record{Event: Event(q.Event) % (EventGap + 1), Stream: Stream(q.Stream) % 2, Partial: q.Partial,
				Sequence: sequence, Offset: offset, Time: q.Time, Log: q.Log, Text: q.Text, Timing: q.Timing,
				Digest: q.Digest, TextDigest: q.Digest}
			if q.NewLine {
				r.Log = append(r.Log, "\r\n"...)
			}
			if q.SameText {
				r.Text = trimEnd(r.Log)
			}
			if r.Event != EventOutput {
				r.Detail = &q.Detail
			}
			sequence++
			offset += r.Span()
			s.Records = append(s.Records, r)
		}
		s.Resume.Sequence = sequence - 1
		var d Decoder
		got, err := d.Segment(encodeSegment(t, s))
		if err != nil {
			t.Error(err)
			return false
		}
		return dumpSegment(got) == dumpSegment(s)
	}
	if err := quick.Check(roundTrip, nil); err != nil {
		t.Error(err)
	}
}

func TestAppendSegmentRefuses(t *testing.T) {
	hole, shifted := testSegment(), testSegment()
	hole.Records = slices.Delete(hole.Records, 1, 2)
	shifted.Records[3].Offset++
	tests := []struct {
		name string
		s    *Segment
		want string
	}{
		{"no records", &Segment{Operation: testOperation()}, "encode segment: no records"},
		{"a record is missing", hole, "encode segment: record 3 at offset 7 is not consecutive: expected 2 at 0"},
		{"bytes are missing", shifted, "encode segment: record 4 at offset 21 is not consecutive: expected 4 at 20"},
	}
	for _, test := range tests {
		if _, err := AppendSegment(nil, nil, test.s); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// decoders are the two binary formats, for tests of both.
var decoders = map[string]struct {
	decode func([]byte) error
	valid  func(testing.TB) []byte
}{
	"chunk": {
		func(data []byte) error { return DecodeChunk(data, new(Chunk)) },
		func(t testing.TB) []byte { return AppendChunk(nil, testChunk(t)) },
	},
	"segment": {
		func(data []byte) error { _, err := new(Decoder).Segment(data); return err },
		func(t testing.TB) []byte { return encodeSegment(t, testSegment()) },
	},
}

func TestVersionFromTheFuture(t *testing.T) {
	for name, d := range decoders {
		for _, version := range []byte{max(chunkVersion, segmentVersion) + 1, 255} {
			data := d.valid(t)
			data[0] = version
			if err := d.decode(data); !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) {
				t.Errorf("%s of version %d: %v, want %v", name, version, err, ErrVersion)
			}
		}
	}
}

// However a message is changed, decoding succeeds or returns ErrCorrupt (or ErrVersion, if the
// version was changed), and the error quotes nothing of it.
func TestDamaged(t *testing.T) {
	for name, d := range decoders {
		t.Run(name, func(t *testing.T) {
			refused := 0
			check := func(what string, data []byte) error {
				err := d.decode(data)
				if err == nil {
					return nil
				}
				refused++
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Errorf("%s: neither ErrCorrupt nor ErrVersion: %v", what, err)
				}
				for _, content := range []string{secret, "Ada", "ada@", "u-1", "web", "reason", "retention", "eyJ"} {
					if strings.Contains(err.Error(), content) {
						t.Errorf("%s: the error quotes the message: %v", what, err)
					}
				}
				return err
			}
			valid := d.valid(t)
			for n := range valid {
				err := check(fmt.Sprintf("cut at %d", n), valid[:n])
				if err == nil && name == "segment" {
					t.Errorf("cut at %d: decoded", n)
				}
			}
			for i := range valid {
				for _, bit := range []byte{0x01, 0x20, 0x80, 0xff} {
					damaged := bytes.Clone(valid)
					damaged[i] ^= bit
					check(fmt.Sprintf("byte %d changed by %#x", i, bit), damaged)
				}
			}
			if name == "segment" && check("with more after it", append(bytes.Clone(valid), 0)) == nil {
				t.Error("a segment with more after it is decoded")
			}
			if refused == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}

func TestCorrupt(t *testing.T) {
	head := []byte{1, 0, 0, 0, 0, 0}
	segment := func(change func(*Segment, *[]byte)) []byte {
		s := testSegment()
		s.Records = s.Records[:1]
		op := operationJSON(t, s.Operation)
		change(s, &op)
		data, err := AppendSegment(nil, op, s)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	// The flags byte of the only record follows the version, the operation, the first record's
	// sequence, offset and time, and the count.
	flags := func(b byte) []byte {
		data := segment(func(*Segment, *[]byte) {})
		var r reader
		r.data = data[1:]
		r.bytes()
		r.uvarint()
		r.uvarint()
		r.varint()
		r.uvarint()
		data[len(data)-len(r.data)] = b | flagText
		return data
	}
	tests := []struct {
		name, format string
		data         []byte
	}{
		{"empty", "chunk", nil},
		{"version 0", "chunk", []byte{0, 0, 0, 0, 0, 0}},
		{"a JSON object", "chunk", []byte("\x01{}")},
		{"kind of no frame", "chunk", append(bytes.Clone(head), byte(FrameGap)+1, 0, 0)},
		{"frame without payload", "chunk", append(bytes.Clone(head), 0, 0)},
		{"payload shorter than its length", "chunk", append(bytes.Clone(head), 0, 0, 2, 'x')},
		{"length past 64 bits", "chunk", append(append(bytes.Clone(head), 0, 0), bytes.Repeat([]byte{0xff}, 11)...)},
		{"empty", "segment", nil},
		{"version 0", "segment", append([]byte{0}, flags(1)[1:]...)},
		{"operation that is no JSON", "segment", segment(func(_ *Segment, op *[]byte) { *op = []byte(secret) })},
		{"operation of another type", "segment", segment(func(_ *Segment, op *[]byte) { *op = []byte(`{"id":"` + secret + `","user":"` + secret + `"}`) })},
		{"operation null", "segment", segment(func(_ *Segment, op *[]byte) { *op = []byte("null") })},
		{"operation of nothing", "segment", segment(func(_ *Segment, op *[]byte) { *op = nil })},
		{"event of no name", "segment", flags(5)},
		{"flag of no meaning", "segment", flags(1 | 0x40)},
	}
	for _, test := range tests {
		err := decoders[test.format].decode(test.data)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %s: %v, want %v", test.format, test.name, err, ErrCorrupt)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %s: the error quotes the message: %v", test.format, test.name, err)
		}
	}
	if err := decoders["segment"].decode(flags(byte(EventStart) | flagPartial)); err != nil {
		t.Errorf("the flags byte is not where the test has it: %v", err)
	}
}

// A few bytes that declare a large size allocate little.
func TestLyingLengths(t *testing.T) {
	op := operationJSON(t, testOperation())
	for _, n := range []uint64{1 << 20, 1 << 31, 1 << 40, math.MaxInt64, math.MaxUint64} {
		chunk := binary.AppendUvarint([]byte{1, 0, 0, 0, 0, 0, 0, 0}, n)
		longOp := binary.AppendUvarint([]byte{1}, n)
		count := appendBytes([]byte{1}, op)
		count = append(count, 1, 0, 0)
		log := append(bytes.Clone(count), 1, 0, 0)
		count = append(binary.AppendUvarint(count, n), make([]byte, 200)...)
		log = append(binary.AppendUvarint(log, n), make([]byte, 200)...)
		for name, test := range map[string]struct {
			format string
			data   []byte
		}{
			"payload": {"chunk", chunk}, "operation": {"segment", longOp},
			"count": {"segment", count}, "log": {"segment", log},
		} {
			used := allocated(func() {
				if err := decoders[test.format].decode(test.data); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s of %d: %v, want %v", name, n, err, ErrCorrupt)
				}
			})
			if used > 64<<10 {
				t.Errorf("%s of %d: allocated %d bytes for %d", name, n, used, len(test.data))
			}
		}
	}
}

// allocated returns the number of bytes that f, and concurrent goroutines, allocate.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDecoderSharesOperations(t *testing.T) {
	var d Decoder
	data := encodeSegment(t, testSegment())
	first, err := d.Segment(data)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Segment(bytes.Clone(data))
	if err != nil {
		t.Fatal(err)
	}
	if first.Operation != second.Operation {
		t.Error("two segments of one operation have two Operations")
	}
	other := testSegment()
	other.Operation.ID = "4712"
	third, err := d.Segment(encodeSegment(t, other))
	if err != nil {
		t.Fatal(err)
	}
	if third.Operation == first.Operation || third.Operation.ID != "4712" {
		t.Error("two operations share one Operation")
	}
	clear(data) // the operation does not alias the message
	if first.Operation.User.Name != "Ada Lovelace" {
		t.Error("the operation aliases the message")
	}

	one := testSegment()
	one.Records = one.Records[:1]
	for i := range 3 * minLookups {
		one.Operation.ID = fmt.Sprint(i)
		got, err := d.Segment(encodeSegment(t, one))
		if err != nil {
			t.Fatal(err)
		}
		if got.Operation.ID != one.Operation.ID {
			t.Fatalf("operation %s for %s", got.Operation.ID, one.Operation.ID)
		}
		if n := len(d.operations.current) + len(d.operations.previous); n > 2*minLookups || n < min(i, minLookups) {
			t.Fatalf("keeps %d operations after %d", n, i+1)
		}
	}
}

// TestSegmentInto: a reused segment contains nothing of the previous one, and allocates nothing for
// fewer records.
func TestSegmentInto(t *testing.T) {
	var d Decoder
	large := testSegment()
	for _, r := range large.Records { // with fields that only some records have
		r.Detail, r.Partial, r.Stream = nil, true, Stderr
		r.Event, r.Sequence = EventOutput, large.Records[len(large.Records)-1].Sequence+1
		large.Records = append(large.Records, r)
	}
	for i := range large.Records {
		if i > 0 {
			large.Records[i].Sequence = large.Records[i-1].Sequence + 1
			large.Records[i].Offset = large.Records[i-1].Offset + large.Records[i-1].Span()
		}
	}
	used := new(Segment)
	if err := d.SegmentInto(used, encodeSegment(t, large)); err != nil {
		t.Fatal(err)
	}
	room := &used.Records[0]
	for first := range testSegment().Records {
		small := testSegment()
		small.Records = small.Records[first:]
		data := encodeSegment(t, small)
		fresh, err := d.Segment(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SegmentInto(used, data); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(used, fresh) {
			t.Errorf("from record %d on: used again, it is\n%+v\nand not\n%+v", first, used, fresh)
		}
		if &used.Records[0] != room {
			t.Error("records were allocated again")
		}
	}
}

// addGolden adds the golden files with this prefix to the seeds.
func addGolden(f *testing.F, prefix string) {
	files, err := filepath.Glob("testdata/v1/" + prefix + "*.bin")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files of %s: %v", prefix, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// memoryBound is the maximum allocation for decoding n bytes: a frame or record is larger in memory
// than on the wire, by a constant factor.
func memoryBound(n int) uint64 { return 1<<20 + 200*uint64(n) }

func FuzzDecodeChunk(f *testing.F) {
	addGolden(f, "chunk")
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Chunk
		var err error
		if used := allocated(func() { err = DecodeChunk(data, &c) }); used > memoryBound(len(data)) {
			t.Fatalf("allocated %d bytes for %d", used, len(data))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		var again Chunk
		if err := DecodeChunk(AppendChunk(nil, &c), &again); err != nil {
			t.Fatal(err)
		}
		if got, want := dumpChunk(&again), dumpChunk(&c); got != want {
			t.Fatalf("decoded again:\n%s\nwant\n%s", got, want)
		}
	})
}

func FuzzDecodeSegment(f *testing.F) {
	addGolden(f, "segment")
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Decoder
		var s *Segment
		var err error
		if used := allocated(func() { s, err = d.Segment(data) }); used > memoryBound(len(data)) {
			t.Fatalf("allocated %d bytes for %d", used, len(data))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		again, err := d.Segment(encodeSegment(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := dumpSegment(again), dumpSegment(s); got != want {
			t.Fatalf("decoded again:\n%s\nwant\n%s", got, want)
		}
		var e Encoder
		for i := range s.Records {
			b, err := e.AppendRecord(nil, s.Operation, &s.Records[i])
			if err != nil {
				t.Fatal(err)
			}
			// Timing comes from the enricher, and is copied into the JSON unchanged.
			if !json.Valid(b) && isTiming(s.Records[i].Timing) {
				t.Fatalf("not JSON: %q", b)
			}
		}
	})
}

func isTiming(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return !strings.ContainsRune("0123456789: ", rune(c)) })
}

func TestFrames(t *testing.T) {
	at := testOperation().Started
	start, err := StartFrame(at, testOperation())
	if err != nil {
		t.Fatal(err)
	}
	var op Operation
	if err := json.Unmarshal(start.Payload, &op); err != nil {
		t.Fatal(err)
	}
	if op != *testOperation() || start.Kind != FrameStart || start.Time != at.UnixNano() {
		t.Errorf("start frame: %+v of %+v", start, op)
	}
	want := map[FrameKind]bool{FrameStdout: true, FrameStderr: true, FrameStart: false, FrameResize: false, FrameEnd: false, FrameGap: false}
	got := maps.Clone(want)
	for k := range got {
		got[k] = k.IsOutput()
	}
	if !maps.Equal(got, want) {
		t.Errorf("IsOutput: %v, want %v", got, want)
	}
	if FrameStdout.Stream() != Stdout || FrameStderr.Stream() != Stderr {
		t.Error("a frame is not of its own stream")
	}
}
