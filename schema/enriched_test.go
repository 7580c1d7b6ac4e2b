package schema_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

// The records that enrich creates from a session with any bytes match the JSON Schema.
func TestEnrichedRecordsMatchSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.RecordSchema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("record.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("record.schema.json")
	if err != nil {
		t.Fatal(err)
	}

	key, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	user := schema.User{ID: "u-1", Name: "Ada \"A\" Lovelace \x1b", Email: "ada@example.com"}
	started := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	document, err := key.Mint("https://auth.example.com", user, started)
	if err != nil {
		t.Fatal(err)
	}
	op := &schema.Operation{ID: "4711", Stack: "default", App: "web", AppID: "app-1", Service: "web", Layer: "app", Host: "gateway-1",
		Container: "session-4711", User: user, UserDocument: document, Command: "cat \x1b[2J\u009b noise", Interactive: true, Width: 80, Height: 24, Started: started}
	transcript, err := enrich.New(op, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}

	var offset [2]uint64
	var events, ordinal uint64
	at := started
	add := func(frames ...schema.Frame) {
		t.Helper()
		c := schema.Chunk{Ordinal: ordinal, Offset: offset, Events: events, Frames: frames}
		if err := transcript.Add(&c, at); err != nil {
			t.Fatal(err)
		}
		ordinal++
		for _, f := range frames {
			if f.Kind.IsOutput() {
				offset[f.Kind.Stream()] += uint64(len(f.Payload))
			} else {
				events++
			}
		}
		at = at.Add(time.Millisecond)
	}
	detail := func(kind schema.FrameKind, d schema.Detail) {
		t.Helper()
		f, err := schema.DetailFrame(kind, at, &d)
		if err != nil {
			t.Fatal(err)
		}
		add(f)
	}
	start, err := schema.StartFrame(at, op)
	if err != nil {
		t.Fatal(err)
	}
	add(start)
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300)
	const special = "\x1b[]0;9m\r\n\b\x07\x7f\u009b\u0085a\xff"
	for i := range 400 {
		for j := range noise {
			noise[j] = byte(random.Uint32())
			if i%3 == 0 {
				noise[j] = special[int(noise[j])%len(special)]
			}
		}
		kind := schema.FrameStdout
		if i%5 == 0 {
			kind = schema.FrameStderr
		}
		add(schema.Frame{Kind: kind, Time: at.UnixNano(), Payload: bytes.Clone(noise)})
	}
	detail(schema.FrameResize, schema.Detail{Width: 132, Height: 43})
	add(schema.Frame{Kind: schema.FrameStdout, Time: at.UnixNano(), Payload: []byte(strings.Repeat("x", 40<<10) + "\r\n$ ")})
	lost, status := uint64(512), 137
	detail(schema.FrameGap, schema.Detail{Bytes: &lost, Reason: "stream full"})
	detail(schema.FrameEnd, schema.Detail{ExitStatus: &status, Reason: "killed"})

	var decoder schema.Decoder
	var encoder schema.Encoder
	seen := make(map[string]int)
	for transcript.Ready() {
		taken, err := transcript.Take()
		if err != nil {
			t.Fatal(err)
		}
		s, err := decoder.Segment(taken.Data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Records {
			data, err := encoder.AppendRecord(nil, s.Operation, &s.Records[i])
			if err != nil {
				t.Fatal(err)
			}
			fields, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatalf("%v: %s", err, data)
			}
			if err := compiled.Validate(fields); err != nil {
				t.Errorf("%v\n%s", err, data)
			}
			var record struct {
				Event   string `json:"event"`
				Stream  string `json:"stream"`
				Partial bool   `json:"partial"`
				Base64  string `json:"log_base64"`
			}
			if err := json.Unmarshal(data, &record); err != nil {
				t.Fatal(err)
			}
			seen[record.Event]++
			seen[record.Stream]++
			if record.Partial {
				seen["partial"]++
			}
			if record.Base64 != "" {
				seen["log_base64"]++
			}
		}
	}
	for _, what := range []string{"start", "output", "resize", "gap", "end", "stdout", "stderr", "partial", "log_base64"} {
		if seen[what] == 0 {
			t.Errorf("no record with %s: %v", what, seen)
		}
	}
}
