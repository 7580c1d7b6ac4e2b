package replay

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// TestWriteText checks that the pieces of a line are joined, however it was split.
func TestWriteText(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	s := &Session{Operation: new(schema.Operation)}
	add := func(event schema.Event, stream schema.Stream, partial bool, text string) {
		r := schema.Record{Event: event, Stream: stream, Partial: partial, Sequence: uint64(len(s.Records) + 1), Text: []byte(text)}
		s.Records = append(s.Records, &Record{Record: r, Operation: s.Operation})
	}
	add(schema.EventStart, 0, false, "session started")
	add(schema.EventOutput, 0, true, long)
	add(schema.EventOutput, 1, true, "on stderr")
	add(schema.EventCheckpoint, 0, false, "not a part of the text")
	add(schema.EventOutput, 0, true, long)
	add(schema.EventOutput, 0, false, "end")
	add(schema.EventOutput, 1, false, "on stderr, told again")
	add(schema.EventOutput, 0, true, "$ sleep")
	add(schema.EventOutput, 0, true, "$ sl")
	add(schema.EventOutput, 0, true, "bad\x1b[31m\x00 bytes")
	add(schema.EventOutput, 0, false, "~ ⏎ :q")
	add(schema.EventOutput, 0, false, "")
	add(schema.EventOutput, 0, false, "")
	s.Records[len(s.Records)-1].Log = []byte("\x1b[m\r\n")
	add(schema.EventEnd, 0, false, "session ended")
	var b bytes.Buffer
	if err := WriteText(&b, s); err != nil {
		t.Fatal(err)
	}
	want := "[session started]\n" + long + long + "end\non stderr, told again\n$ sleep\n$ sl\nbad [31m  bytes\n~\n:q\n\n[session ended]\n"
	if b.String() != want {
		t.Errorf("%q", strings.ReplaceAll(b.String(), long, "LONG"))
	}
}

// TestRecordEncoder checks that lost fields are omitted.
func TestRecordEncoder(t *testing.T) {
	op := &schema.Operation{ID: "42", App: `,"log":"`, User: schema.User{Name: `","digest":"`}}
	var d decoder
	for lost := range LostDigest << 1 {
		var e RecordEncoder
		line, err := e.Append([]byte("before "), &Record{Operation: op, Lost: lost,
			Record: schema.Record{Sequence: 3, Time: 1, Log: nil, Text: []byte("text"), Timing: []byte("0:4")}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.object(bytes.TrimPrefix(line, []byte("before ")))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if kept := lost & (LostLog | LostTime | LostDigest); r.Lost&(LostLog|LostTime|LostDigest) != kept || r.Operation.App != op.App || r.Operation.User.Name != op.User.Name {
			t.Errorf("lost %b: %b: %s", kept, r.Lost, line)
		}
	}
}
