package https

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// flat and nested are the two kinds of shapes, with everything in them.
func flat() *Shape {
	return &Shape{Message: "message", Milliseconds: "timestamp", Level: "status", Host: "hostname",
		Constant: map[string]string{"tags": "a:1,b:\"2\"", "origin": "ttydrain"}, MaxAge: time.Hour}
}

func nested() *Shape {
	return &Shape{Message: "line", Milliseconds: "timestamp", Level: "level", App: "app", Record: "meta", MaxMessageBytes: 2000}
}

func shaped(t testing.TB, s *Shape, e sinks.Entry, now time.Time) []byte {
	t.Helper()
	var encoder schema.Encoder
	const before = "before"
	object, err := newShaper(s).append([]byte(before), &encoder, e, now)
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(object, []byte(before))
	if !ok {
		t.Fatalf("what stood before it was changed: %q", object)
	}
	return rest
}

// fieldsOf decodes one object, in which each name may be there once.
func fieldsOf(t testing.TB, object []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	fields := make(map[string]any)
	next := func() json.Token {
		token, err := decoder.Token()
		if err != nil {
			t.Fatalf("not JSON: %v: %q", err, object)
		}
		return token
	}
	next() // the brace
	for decoder.More() {
		name := next().(string)
		if _, twice := fields[name]; twice {
			t.Fatalf("%s is there twice: %s", name, object)
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("not JSON: %v: %q", err, object)
		}
		fields[name] = value
	}
	next()
	if decoder.More() {
		t.Fatalf("more than one object: %q", object)
	}
	return fields
}

// TestShapeKeepsRecords: whatever the shape, all of the record is there, and but for the text and,
// in a late record, @timestamp, under its own names and unchanged.
func TestShapeKeepsRecords(t *testing.T) {
	for name, shape := range map[string]*Shape{"flat": flat(), "nested": nested(), "none": {}, "message": {Message: "m"}, "constant": {Constant: map[string]string{"c": "d"}}, "only nested": {Record: "r"}} {
		for _, e := range append(golden(), sinktest.Entries(7, 300)...) {
			for _, now := range []time.Time{time.Unix(0, e.Record.Time), time.Unix(0, e.Record.Time).Add(2 * time.Hour)} {
				object := shaped(t, shape, e, now)
				got := fieldsOf(t, object)
				var encoder schema.Encoder
				plain, err := encoder.AppendRecord(nil, e.Operation, e.Record)
				if err != nil {
					t.Fatal(err)
				}
				want := fieldsOf(t, plain)
				own := got
				if shape.Record != "" {
					own = got[shape.Record].(map[string]any)
				}
				if shape.Message != "" {
					text := "operation_id=" + e.Operation.ID + " " + want["text"].(string)
					if cut, _ := strings.CutSuffix(got[shape.Message].(string), cutMark); got["message_cut"] == true {
						if !strings.HasPrefix(text, cut) || len(cut)+len(cutMark) > shape.MaxMessageBytes || len(cut) < shape.MaxMessageBytes-len(cutMark)-utf8.UTFMax {
							t.Fatalf("%s: a text of %d bytes is cut to %d", name, len(text), len(cut))
						}
					} else if got[shape.Message] != text || shape.MaxMessageBytes > 0 && len(text) > shape.MaxMessageBytes {
						t.Fatalf("%s: %q, want %q", name, got[shape.Message], text)
					}
					delete(want, "text")
				}
				stamp := time.Unix(0, e.Record.Time)
				if late := shape.MaxAge > 0 && now.Sub(stamp) > shape.MaxAge; late {
					stamp = now
					want["@timestamp"] = now.UTC().Format("2006-01-02T15:04:05.000000000Z")
					if got["late"] != true {
						t.Fatalf("%s: a late record is not marked: %s", name, object)
					}
				} else if got["late"] != nil {
					t.Fatalf("%s: a record in time is marked: %s", name, object)
				}
				if shape.Milliseconds != "" && got[shape.Milliseconds] != json.Number(fmt.Sprint(stamp.UnixMilli())) {
					t.Fatalf("%s: %v milliseconds, want %d", name, got[shape.Milliseconds], stamp.UnixMilli())
				}
				for field, value := range want {
					if fmt.Sprint(own[field]) != fmt.Sprint(value) {
						t.Fatalf("%s: %s is %v, want %v", name, field, own[field], value)
					}
				}
				if _, has := own["text"]; has && shape.Message != "" {
					t.Fatalf("%s: the text is there twice: %s", name, object)
				}
			}
		}
	}
}

func TestShapeFields(t *testing.T) {
	gap := golden()[0]
	record := *gap.Record
	record.Event = schema.EventGap
	gap.Record = &record
	for _, c := range []struct {
		name  string
		shape *Shape
		entry sinks.Entry
		want  map[string]any
	}{
		{"flat", flat(), golden()[0], map[string]any{"status": "INFO", "hostname": "gateway-1", "host": "gateway-1", "tags": "a:1,b:\"2\"", "origin": "ttydrain",
			"timestamp": json.Number("1773500966535"), "message": "operation_id=1041 session 1041 started"}},
		{"flat gap", flat(), gap, map[string]any{"status": "WARN", "event": "gap"}},
		{"nested", nested(), golden()[1], map[string]any{"level": "INFO", "app": "worker", "line": "operation_id=1042 bad \ufffd \"red\""}},
	} {
		got := fieldsOf(t, shaped(t, c.shape, c.entry, time.Unix(0, c.entry.Record.Time)))
		for name, want := range c.want {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", c.name, name, got[name], want)
			}
		}
		if c.shape.Record != "" && len(got) != 5 {
			t.Errorf("%s: %d fields, want 5: %v", c.name, len(got), got)
		}
	}
}

func TestLateOverHTTPS(t *testing.T) {
	d := newDrain(t, settings{})
	before := time.Now().Truncate(time.Millisecond)
	if e := write(t, d.sink(t, Options{Format: Array, Shape: flat()}), golden()); e != nil {
		t.Fatal(e)
	}
	var objects []struct {
		Timestamp int64     `json:"timestamp"`
		Late      bool      `json:"late"`
		Time      time.Time `json:"time"`
	}
	if err := json.Unmarshal(d.posts()[0].plain, &objects); err != nil {
		t.Fatal(err)
	}
	for i, o := range objects { // the records are of long ago
		if sent := time.UnixMilli(o.Timestamp); !o.Late || sent.Before(before) || sent.After(time.Now()) || o.Time.UnixNano() != golden()[i].Record.Time {
			t.Errorf("%+v", o)
		}
	}
	if len(objects) != 3 {
		t.Errorf("%d objects", len(objects))
	}
}

func TestRequestRecords(t *testing.T) {
	for _, c := range []struct{ limit, records, requests int }{{1, 7, 7}, {3, 7, 3}, {7, 7, 1}, {8, 7, 1}, {150, 400, 3}} {
		for _, o := range []Options{{Format: NDJSON}, {Format: Array}, {Format: Array, ArrayField: "lines"}} {
			d := newDrain(t, settings{handle: count})
			o.MaxRequestRecords = c.limit
			if e := write(t, d.sink(t, o), numbered(c.records)); e != nil {
				t.Fatal(e)
			}
			posts, total := d.posts(), 0
			for _, r := range posts {
				n := bytes.Count(r.plain, []byte(`"operation_id"`))
				total += n
				if n > c.limit {
					t.Errorf("%+v: a request has %d records", c, n)
				}
			}
			if len(posts) != c.requests || total != c.records {
				t.Errorf("%+v: %d requests with %d records", c, len(posts), total)
			}
		}
	}
}

func TestArrayField(t *testing.T) {
	d := newDrain(t, settings{handle: count})
	if e := write(t, d.sink(t, Options{Format: Array, ArrayField: `the "lines"`, MaxRequestRecords: 2}), golden()); e != nil {
		t.Fatal(e)
	}
	for i, want := range []int{2, 1} {
		var body map[string][]json.RawMessage
		if err := json.Unmarshal(d.posts()[i].plain, &body); err != nil || len(body) != 1 || len(body[`the "lines"`]) != want {
			t.Errorf("%v: %s", err, d.posts()[i].plain)
		}
	}
}

// TestRecordBytes: a record that is too long for the drain is not sent, and says so; what comes
// before it is.
func TestRecordBytes(t *testing.T) {
	for _, format := range []Format{JSON, NDJSON, Array} {
		d := newDrain(t, settings{})
		batch := numbered(5)
		long := *batch[2].Record
		long.Text = bytes.Repeat([]byte("x"), 5000)
		batch[2].Record = &long
		s := d.sink(t, Options{Format: format, MaxRecordBytes: 4000})
		e := write(t, s, batch)
		if e == nil || e.Verdict != sinks.TooLarge || len(e.Items) != 3 || e.Items[0].Index != 2 || e.Items[0].Verdict != sinks.TooLarge ||
			e.Items[1].Verdict != sinks.Retry || !strings.Contains(e.Items[0].Message(), "the drain takes 4000 for one") {
			t.Fatalf("%s: %+v", format, e)
		}
		if e := write(t, s, batch[2:3]); e == nil || e.Verdict != sinks.TooLarge || len(e.Items) != 0 {
			t.Fatalf("%s: %+v", format, e)
		}
		if e := write(t, s, batch[3:]); e != nil {
			t.Fatal(e)
		}
		var sequences []uint64
		for _, g := range d.received(t, 4) {
			sequences = append(sequences, g.Sequence)
		}
		if !slices.Equal(sequences, []uint64{1, 2, 4, 5}) {
			t.Errorf("%s: the drain has %v", format, sequences)
		}
	}
}

// TestShapeSizes: the limits are those of the objects as they are sent.
func TestShapeSizes(t *testing.T) {
	const limit = 64 << 10
	for _, shape := range []*Shape{flat(), nested()} {
		d := newDrain(t, settings{handle: count})
		s := d.sink(t, Options{Format: Array, ArrayField: "lines", Shape: shape, MaxRequestBytes: limit})
		if e := write(t, s, numbered(1000)); e != nil {
			t.Fatal(e)
		}
		total := 0
		for _, r := range d.posts() {
			total += len(r.plain)
			if len(r.plain) > limit {
				t.Errorf("a request of %d bytes", len(r.plain))
			}
		}
		if requests := len(d.posts()); requests > total/limit+2 {
			t.Errorf("%d requests for %d bytes", requests, total)
		}
	}
}

func TestShapeOptions(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{Shape: &Shape{Message: "a", Level: "a"}}, "two fields have the same name"},
		{Options{Shape: &Shape{Message: "a", Constant: map[string]string{"a": ""}}}, "two fields have the same name"},
		{Options{Shape: &Shape{Constant: map[string]string{"": "x"}}}, "has no name"},
		{Options{Shape: &Shape{MaxMessageBytes: 1023}}, "expected 0 or at least 1024"},
		{Options{Shape: &Shape{MaxMessageBytes: -1}}, "expected 0 or at least 1024"},
		{Options{Shape: &Shape{MaxAge: -1}}, "negative"},
		{Options{Shape: &Shape{MaxAge: 1, Record: "x"}}, "an object of their own"},
		{Options{ArrayField: "lines"}, `array_field is for the format "array"`},
		{Options{MaxRequestRecords: -1}, "negative"},
		{Options{MaxRecordBytes: -1}, "negative"},
	} {
		c.options.URL = "https://h/"
		if _, err := New(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want …%s…", c.options, err, c.want)
		}
	}
}

// FuzzShape: whatever a record holds, it becomes one object, with all of its fields once.
func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"operation_id":"9"}`), []byte("log"), `,"text":""`, true)
	f.Add([]byte(`,"text":""`), []byte(`,"text":""`), "a", false)
	f.Add(bytes.Repeat([]byte("\u65e5\xff"), 900), []byte("\xff"), "\x00", true)
	f.Fuzz(func(t *testing.T, text, log []byte, field string, isFlat bool) {
		shape := nested()
		if isFlat {
			shape = flat()
		}
		e := sinks.Entry{Operation: &schema.Operation{ID: field, App: field, Host: field, Stack: field},
			Record: &schema.Record{Sequence: 3, Text: text, Log: log, Timing: []byte("0:1"), Detail: &schema.Detail{Reason: field, Command: string(text)}}}
		got := fieldsOf(t, shaped(t, shape, e, time.Unix(0, 0)))
		own := got
		if shape.Record != "" {
			own = got[shape.Record].(map[string]any)
		}
		if own["sequence"] != json.Number("3") || own["digest"] == nil || own["log"] != string(bytes.ToValidUTF8(log, nil)) && utf8.Valid(log) || own["text"] != nil {
			t.Fatalf("%v", got)
		}
	})
}

// count keeps a request without looking for records in it.
func count(d *drain, _ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, request{r.Method, r.URL.RequestURI(), r.Header.Clone(), body, body})
}

// numbered makes n records of one operation.
func numbered(n int) []sinks.Entry {
	first := golden()[0]
	entries := make([]sinks.Entry, n)
	for i := range entries {
		entries[i] = sinks.Entry{Operation: first.Operation, Record: &schema.Record{Sequence: uint64(i + 1), Time: first.Record.Time, Text: []byte("$ ls"), Log: []byte("$ ls\n")}}
	}
	return entries
}
