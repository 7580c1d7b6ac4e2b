package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// secret is session content that no error may quote.
const secret = "correct-horse-battery"

func testOperation() *Operation {
	started := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	return &Operation{
		ID: "4711", Stack: "default", App: "web", AppID: "app-17", Service: "web-cmd", Layer: "app",
		Host: "gateway-1", Container: "session-4711",
		User:         User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
		UserDocument: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1LTEifQ.c2lnbmF0dXJl",
		Command:      "ls --color", Interactive: true, Width: 80, Height: 24,
		Started: started, Expires: started.Add(7 * 24 * time.Hour),
	}
}

// testSegment returns a record of every event, and output of every kind.
func testSegment() *Segment {
	at := testOperation().Started.UnixNano()
	yes, status, total, lost := true, 130, uint64(0), uint64(512)
	s := &Segment{Operation: testOperation()}
	digest, texts := sha256.New(), sha256.New()
	add := func(r Record) {
		r.Sequence = uint64(len(s.Records)) + 1
		r.Offset = total
		r.Time = at
		at += 1_500_000_042
		total += r.Span()
		digest.Write(r.Log)
		fmt.Fprintf(texts, "%s\n", r.Text)
		digest.Sum(r.Digest[:0])
		texts.Sum(r.TextDigest[:0])
		if r.Event == EventOutput && r.Timing == nil {
			r.Timing = fmt.Appendf(nil, "0:%d", len(r.Log))
		}
		s.Records = append(s.Records, r)
	}
	output := func(log, text string) { add(Record{Log: []byte(log), Text: []byte(text)}) }

	add(Record{Event: EventStart, Text: []byte("session started by Ada Lovelace"),
		Detail: &Detail{Command: "ls --color", Interactive: &yes, Width: 80, Height: 24}})
	output("plain\r\n", "plain")
	output("bare newline\n", "bare newline")
	output("doubled return\r\r\n", "doubled return")
	output("\x1b[01;34mbin\x1b[0m  \x1b[01;32mrun.sh\x1b[0m\r\n", "bin  run.sh")
	output("f\u00fcr \u65e5\u672c \U0001f600 \u2028 \u007f \"quoted\" \\ \t tab\r\n", "f\u00fcr \u65e5\u672c \U0001f600 \u2028  \"quoted\" \\  tab")
	output("bad \xff\xfe\xc3( bytes\r\n", "bad \ufffd\ufffd\ufffd( bytes")
	output("typo\b\b\b\bfixed "+secret+"\r\n", "fixed "+secret)
	output("\r\n", "")
	add(Record{Event: EventResize, Text: []byte("terminal resized to 132x43"), Detail: &Detail{Width: 132, Height: 43}})
	add(Record{Log: []byte("Password: "), Text: []byte("Password: "), Partial: true, Timing: []byte("0:4 120300:6")})
	add(Record{Log: []byte("on standard error\n"), Text: []byte("on standard error"), Stream: Stderr})
	add(Record{Event: EventGap, Text: []byte("512 bytes are missing"), Detail: &Detail{Reason: "retention", Bytes: &lost}})
	add(Record{Event: EventEnd, Text: []byte("session ended: exit, status 130"),
		Detail: &Detail{ExitStatus: &status, Reason: "exit", Bytes: &total, Signature: "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"}})

	s.Resume = Resume{
		Consumed: [2]uint64{total - 18, 18}, Events: 4, Sequence: uint64(len(s.Records)), Parser: [2]uint8{3, 0}, Ended: true,
		// Opaque here: the states of hashes, in the format of the standard library.
		Digest: bytes.Repeat([]byte{0xd1}, 108), TextDigest: bytes.Repeat([]byte{0x7e}, 108),
	}
	return s
}

func testChunk(t testing.TB) *Chunk {
	op := testOperation()
	start, err := StartFrame(op.Started, op)
	if err != nil {
		t.Fatal(err)
	}
	resize, err := DetailFrame(FrameResize, op.Started.Add(2*time.Second), &Detail{Width: 132, Height: 43})
	if err != nil {
		t.Fatal(err)
	}
	lost := uint64(512)
	gap, err := DetailFrame(FrameGap, op.Started.Add(4*time.Second), &Detail{Reason: "stream full", Bytes: &lost})
	if err != nil {
		t.Fatal(err)
	}
	status := 0
	end, err := DetailFrame(FrameEnd, op.Started.Add(5*time.Second), &Detail{ExitStatus: &status, Reason: "exit"})
	if err != nil {
		t.Fatal(err)
	}
	return &Chunk{Ordinal: 3, Offset: [2]uint64{70_000, 300}, Events: 1, Frames: []Frame{
		start,
		{Kind: FrameStdout, Time: start.Time + 1, Payload: []byte("\x1b[1m" + secret + "\xff\x00\r\n")},
		resize,
		// A clock that was set back: times need not increase.
		{Kind: FrameStderr, Time: start.Time - 7, Payload: []byte("oops\n")},
		{Kind: FrameStdout, Time: start.Time, Payload: []byte{}},
		gap,
		end,
	}}
}

func operationJSON(t testing.TB, op *Operation) []byte {
	b, err := json.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodeSegment(t testing.TB, s *Segment) []byte {
	b, err := AppendSegment(nil, operationJSON(t, s.Operation), s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodeRecord(t testing.TB, op *Operation, r *Record) []byte {
	var e Encoder
	b, err := e.AppendRecord(nil, op, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dumpChunk and dumpSegment format every field legibly; two messages with the same dump are equal.
func dumpChunk(c *Chunk) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "chunk ordinal=%d stdout=%d stderr=%d events=%d\n", c.Ordinal, c.Offset[Stdout], c.Offset[Stderr], c.Events)
	for _, f := range c.Frames {
		fmt.Fprintf(&b, "frame kind=%d time=%d payload=%q\n", f.Kind, f.Time, f.Payload)
	}
	return b.String()
}

func dumpSegment(s *Segment) string {
	var b bytes.Buffer
	op, err := json.Marshal(s.Operation)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(&b, "segment operation=%s\n", op)
	for i := range s.Records {
		r := &s.Records[i]
		fmt.Fprintf(&b, "record %d event=%s stream=%s partial=%t offset=%d time=%d\n", r.Sequence, r.Event, r.Stream, r.Partial, r.Offset, r.Time)
		fmt.Fprintf(&b, "\tlog=%q\n\ttext=%q\n\ttiming=%q\n\tdigest=%s\n\ttextdigest=%s\n", r.Log, r.Text, r.Timing, r.Digest, r.TextDigest)
		if r.Detail != nil {
			detail, err := json.Marshal(r.Detail)
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(&b, "\tdetail=%s\n", detail)
		}
	}
	fmt.Fprintf(&b, "resume consumed=%d events=%d sequence=%d parser=%d ended=%t\n\tdigest=%x\n\ttextdigest=%x\n",
		s.Resume.Consumed, s.Resume.Events, s.Resume.Sequence, s.Resume.Parser, s.Resume.Ended, s.Resume.Digest, s.Resume.TextDigest)
	if len(s.Resume.Proof) > 0 {
		fmt.Fprintf(&b, "\tproof=%x\n", s.Resume.Proof)
	}
	if len(s.Resume.Terminal) > 0 {
		fmt.Fprintf(&b, "\tterminal=%x\n", s.Resume.Terminal)
	}
	return b.String()
}

// fileDetails returns the details of input and of transfers.
func fileDetails() (input, upload, download *Detail) {
	size, none := uint64(70_000), uint64(0)
	input = &Detail{Input: []byte("SELECT 1;\n\xff")}
	upload = &Detail{Path: "/tmp/dump.sql", Direction: Upload, Size: &size, SHA256: strings.Repeat("0a", 32)}
	download = &Detail{Path: "log/x", Direction: Download, Size: &none, Reason: "it was interrupted"}
	return input, upload, download
}

// testFiles returns a chunk with input and transfers.
func testFiles(t *testing.T) *Chunk {
	t.Helper()
	at := time.Unix(1_772_357_400, 0)
	c := &Chunk{Ordinal: 3, Offset: [2]uint64{7, 0}, Events: 1}
	input, upload, download := fileDetails()
	for kind, d := range map[FrameKind][]*Detail{FrameInput: {input}, FrameTransfer: {upload, download}} {
		for _, detail := range d {
			f, err := DetailFrame(kind, at, detail)
			if err != nil {
				t.Fatal(err)
			}
			c.Frames = append(c.Frames, f)
		}
	}
	slices.SortStableFunc(c.Frames, func(a, b Frame) int { return int(a.Kind) - int(b.Kind) })
	return c
}

// fileRecords returns consecutive records of input, of transfers and of an end after input, from a
// record's sequence on.
func fileRecords(from Record) (records []Record) {
	input, upload, download := fileDetails()
	status, total, given := 0, from.Offset, uint64(11)
	end := &Detail{ExitStatus: &status, Reason: "exit", Bytes: &total, InputBytes: &given, InputSHA256: strings.Repeat("1b", 32), Signature: "a.b.c"}
	for i, r := range []Record{
		{Event: EventInput, Text: []byte("input: SELECT 1;"), Detail: input},
		{Event: EventTransfer, Text: []byte("upload of /tmp/dump.sql"), Detail: upload},
		{Event: EventTransfer, Text: []byte("download of log/x"), Detail: download},
		{Event: EventEnd, Text: []byte("session ended: exit, status 0"), Detail: end},
	} {
		r.Sequence, r.Offset, r.Time = from.Sequence+uint64(i), from.Offset, from.Time
		r.Digest, r.TextDigest = from.Digest, from.TextDigest
		records = append(records, r)
	}
	return records
}

// checkpointRecords returns a checkpoint at the place of a record, and the next line.
func checkpointRecords(from Record) []Record {
	checkpoint := Record{Event: EventCheckpoint, Text: []byte("everything up to here is signed"), Detail: &Detail{Signature: "a.b.c"}}
	line := Record{Log: []byte("x\n"), Text: []byte("x"), Timing: []byte("0:2")}
	for i, r := range []*Record{&checkpoint, &line} {
		r.Sequence, r.Offset, r.Time = from.Sequence+uint64(i), from.Offset, from.Time
		r.Digest, r.TextDigest = from.Digest, from.TextDigest
	}
	return []Record{checkpoint, line}
}
