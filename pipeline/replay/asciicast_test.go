package replay

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

func TestAsciicast(t *testing.T) {
	const begin = 1_700_000_000_000_000_000
	op := &schema.Operation{ID: "42", App: "web", User: schema.User{Name: `Ada "Lovelace"`}, Command: "top", Interactive: true, Width: 100, Height: 30}
	a := NewAsciicast(op, begin)
	out := a.AppendHeader(nil)
	show := func(ms int64, stream schema.Stream, text string) {
		out = a.AppendOutput(out, begin+ms*1e6, stream, []byte(text))
	}
	show(0, schema.Stdout, "a\n")
	show(1500, schema.Stdout, "\x1b[1m\xe2")
	show(1600, schema.Stderr, "x")
	show(1700, schema.Stdout, "\x9c")
	show(1800, schema.Stdout, "\x93!")
	show(1900, schema.Stdout, "bad \xff\xfe")
	show(1800, schema.Stdout, "earlier")
	out = a.AppendFrame(out, Frame{Event: schema.EventResize, Time: begin + 2e9, Record: &Record{Record: schema.Record{Detail: &schema.Detail{Width: 80, Height: 24}}}})
	out = a.AppendFrame(out, Frame{Event: schema.EventResize, Time: begin + 2e9, Record: &Record{Record: schema.Record{Detail: &schema.Detail{}}}})
	out = a.AppendFrame(out, Frame{Event: schema.EventEnd, Time: begin + 3e9, Record: &Record{}})
	want := `{"version":2,"width":100,"height":30,"timestamp":1700000000,"title":"Session 42 of Ada \"Lovelace\" on web","command":"top"}
[0.000000,"o","a\n"]
[1.500000,"o","\u001b[1m"]
[1.600000,"o","x"]
[1.800000,"o","✓!"]
[1.900000,"o","bad ��"]
[1.900000,"o","earlier"]
[2.000000,"r","80x24"]
`
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	for line := range strings.Lines(string(out)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	// Without a terminal, a line end is that alone.
	plain := NewAsciicast(&schema.Operation{}, begin)
	if w, h := plain.Size(); w != 80 || h != 24 {
		t.Errorf("without a terminal it is %d by %d", w, h)
	}
	if got := string(plain.AppendOutput(nil, begin, schema.Stdout, []byte("a\nb\r\n"))); got != `[0.000000,"o","a\r\nb\r\n"]`+"\n" {
		t.Errorf("without a terminal: %s", got)
	}
}
