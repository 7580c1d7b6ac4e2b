package schema

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileRecordSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource("record.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unmarshal(t *testing.T, data []byte) map[string]any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("not JSON: %v: %q", err, data)
	}
	return v.(map[string]any)
}

// killedRecord returns the end record of a killed session.
func killedRecord(seg *Segment) Record {
	r := seg.Records[slices.IndexFunc(seg.Records, func(r Record) bool { return r.Event == EventEnd })]
	detail := *r.Detail
	detail.Reason, detail.EndedBy, detail.EndedBecause = "killed", "grace at host", "the incident is over"
	r.Detail = &detail
	return r
}

func TestRecordsMatchSchema(t *testing.T) {
	compiled := compileRecordSchema(t)
	seg := testSegment()
	uncertain := GapOf(&seg.Records[1])
	uncertain.Uncertain = true
	seg.Records = append(seg.Records, *uncertain.Record())
	events := make(map[Event]bool)
	known := make(map[string]bool)
	records := append(append(slices.Clone(seg.Records), killedRecord(seg)), append(fileRecords(seg.Records[1]), checkpointRecords(seg.Records[1])...)...)
	records[0].Detail.Origin = testOrigin
	for i := range records {
		data := encodeRecord(t, seg.Operation, &records[i])
		fields := unmarshal(t, data)
		if err := compiled.Validate(fields); err != nil {
			t.Errorf("%s: %v", data, err)
		}
		for name := range fields {
			known[name] = true
			if compiled.Properties[name] == nil {
				t.Errorf("the schema does not know %q", name)
			}
		}
		events[records[i].Event] = true
	}
	if len(events) != len(eventNames) {
		t.Errorf("tried %d of %d events", len(events), len(eventNames))
	}
	for name, property := range compiled.Properties {
		if !known[name] {
			t.Errorf("the schema has %q, which no record has", name)
		}
		if property.Title == "" || property.Description == "" {
			t.Errorf("%q has no title or no description", name)
		}
	}

	future := unmarshal(t, encodeRecord(t, seg.Operation, &seg.Records[1]))
	future["from_a_later_version"] = []any{"x"}
	if err := compiled.Validate(future); err != nil {
		t.Errorf("a field that a later version added: %v", err)
	}
	lost := unmarshal(t, encodeRecord(t, seg.Operation, &seg.Records[len(seg.Records)-2]))
	delete(lost, "exit_status")
	if err := compiled.Validate(lost); err != nil {
		t.Errorf("the end of a session whose gateway was lost: %v", err)
	}
}

func TestBrokenRecordsDoNotMatchSchema(t *testing.T) {
	compiled := compileRecordSchema(t)
	seg := testSegment()
	byEvent := make(map[string][]byte)
	for i := range seg.Records {
		r := &seg.Records[i]
		if _, ok := byEvent[r.Event.String()]; !ok {
			byEvent[r.Event.String()] = encodeRecord(t, seg.Operation, r)
		}
	}
	remove := struct{}{}
	type change map[string]any
	tests := []struct {
		name, event string
		change      change
	}{
		{"ended by nobody", "end", change{"reason": "killed", "ended_because": "x"}},
		{"ended by somebody, and expired", "end", change{"reason": "expired", "ended_by": "grace"}},
		{"output ended by somebody", "output", change{"ended_by": "grace"}},
		{"short timestamp", "output", change{"@timestamp": "2026-03-01T09:30:00Z"}},
		{"another zone", "output", change{"time": "2026-03-01T09:30:00.000000000+01:00"}},
		{"no such day", "output", change{"time": "2026-02-30T09:30:00.000000000Z"}},
		{"timestamp as a number", "output", change{"@timestamp": 1}},
		{"another version", "output", change{"@version": "2"}},
		{"another type", "output", change{"type": "text"}},
		{"another layer", "output", change{"layer": "database"}},
		{"another source", "output", change{"source": "app"}},
		{"another stream", "output", change{"stream": "stdin"}},
		{"another event", "output", change{"event": "input"}},
		{"sequence from 0", "output", change{"sequence": 0}},
		{"sequence as a string", "output", change{"sequence": "1"}},
		{"sequence with a fraction", "output", change{"sequence": 1.5}},
		{"offset as a number", "output", change{"offset": 1}},
		{"negative offset", "output", change{"offset": "-1"}},
		{"offset with zeros", "output", change{"offset": "01"}},
		{"operation as a number", "output", change{"operation_id": 4711}},
		{"operation without ID", "output", change{"operation_id": ""}},
		{"file of nothing", "output", change{"file": "operations/"}},
		{"a document that is no JWT", "output", change{"APTIBLE_USER_DOCUMENT": "u-1"}},
		{"user without a name field", "output", change{"operation_user_name": remove}},
		{"short digest", "output", change{"digest": "abcd"}},
		{"upper-case digest", "output", change{"digest": strings.Repeat("A", 64)}},
		{"escape in the text", "output", change{"text": "\x1b[1m"}},
		{"newline in the text", "output", change{"text": "a\n"}},
		{"C1 control in the text", "output", change{"text": "\u009b1m"}},
		{"timing in words", "output", change{"timing": "soon"}},
		{"half a timing", "output", change{"timing": "0:1 2"}},
		{"partial false", "output", change{"partial": false}},
		{"base64 of another alphabet", "output", change{"log_base64": "_-8="}},
		{"base64 cut short", "output", change{"log_base64": "abc"}},
		{"output without bytes", "output", change{"log": ""}},
		{"output with an exit status", "output", change{"exit_status": 0}},
		{"output with a width", "output", change{"width": 80}},
		{"output with a reason", "output", change{"reason": "exit"}},
		{"start with output", "start", change{"log": "x"}},
		{"start without interactive", "start", change{"interactive": remove}},
		{"start with an empty command", "start", change{"command": ""}},
		{"start with bytes", "start", change{"bytes": 1}},
		{"start with timing", "start", change{"timing": "0:1"}},
		{"resize without width", "resize", change{"width": remove}},
		{"resize without height", "resize", change{"height": remove}},
		{"resize to nothing", "resize", change{"width": 0}},
		{"resize with a command", "resize", change{"command": "ls"}},
		{"end with a status in words", "end", change{"exit_status": "0"}},
		{"end without a reason", "end", change{"reason": remove}},
		{"end without totals", "end", change{"bytes": remove}},
		{"end with a signature that is no JWS", "end", change{"signature": "abc"}},
		{"end that is partial", "end", change{"partial": true}},
		{"gap without bytes", "gap", change{"bytes": remove}},
		{"gap without a reason", "gap", change{"reason": remove}},
		{"gap of less than nothing", "gap", change{"bytes": -1}},
		{"gap that is uncertain of nothing", "gap", change{"uncertain": true}},
		{"gap up to nothing", "gap", change{"last_sequence": 0}},
		{"end with a last sequence", "end", change{"last_sequence": 7}},
		{"resize with a signature", "resize", change{"signature": "a.b.c"}},
	}
	for _, name := range compiled.Required {
		tests = append(tests, struct {
			name, event string
			change      change
		}{"without " + name, "output", change{name: remove}})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fields := unmarshal(t, byEvent[test.event])
			if err := compiled.Validate(fields); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			before := maps.Clone(fields)
			for name, value := range test.change {
				if value == remove {
					delete(fields, name)
					continue
				}
				fields[name] = value
			}
			if len(before) == len(fields) && maps.Equal(before, fields) {
				t.Fatal("the change has no effect")
			}
			if err := compiled.Validate(fields); err == nil {
				t.Errorf("is accepted as a record: %v", fields)
			}
		})
	}
	if !slices.Contains(compiled.Required, "operation_id") {
		t.Error("the schema requires no operation_id")
	}
	var doc map[string]any
	data, err := os.ReadFile("record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["$schema"] != "https://json-schema.org/draft/2020-12/schema" || doc["title"] == "" || doc["additionalProperties"] != true {
		t.Error("the schema must be of draft 2020-12, with a title, and allow additional properties")
	}
}
