package replay

import (
	"slices"
	"strings"
	"testing"
)

const formRecord = `{"@timestamp":"2026-03-01T09:30:00.000000001Z","time":"2026-03-01T09:30:00.000000001Z","@version":"1","type":"json",` +
	`"file":"operations/42","host":"g","layer":"app","service":"s","stack":"d","app":"web","app_id":"1","source":"ssh","container":"c",` +
	`"operation_id":"42","operation_user_name":"Ada","operation_user_email":"a@example.com","APTIBLE_USER_DOCUMENT":"a.b.c","event":"output",` +
	`"stream":"stdout","sequence":2,"offset":"0","log":"x\n","text":"x","digest":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}`

// TestForm checks what is reported of objects that are not as ttydrain writes them.
func TestForm(t *testing.T) {
	with := func(old, new string) string {
		if strings.Count(formRecord, old) != 1 {
			t.Fatalf("%q is not once in the record", old)
		}
		return strings.Replace(formRecord, old, new, 1)
	}
	for _, test := range []struct{ name, object, faults, form string }{
		{"as written", formRecord, "", ""},
		{"a field twice", with(`"text":"x"`, `"text":"x","text":"y"`), twice, ""},
		{"a field twice with escapes", with(`"text":"x"`, `"text":"x","te\u0078t":"y"`), twice, ""},
		{"a field twice in other letters", with(`"text":"x"`, `"text":"x","TEXT":"y"`), twice, isOther + "text"},
		{"an unknown field", with(`"text":"x"`, `"text":"x","user":{"name":"Eve","text":["text",{"text":1}]}`), "", isOther + "user"},
		{"an unknown field twice", with(`"text":"x"`, `"text":"x","user":1,"user":2`), twice, isOther + "user"},
		{"a name that may be content", with(`"text":"x"`, `"text":"x","pass word":1`), "", isOther + "?"},
		{"a field less", with(`"type":"json",`, ``), "", hasNo + "type"},
		{"another constant", with(`"json"`, `"text"`), "type is not what every record has", ""},
		{"another time", with(`"time":"2026-03-01T09:30:00.000000001Z"`, `"time":"2026-03-01T09:30:00.000000002Z"`), "time and @timestamp contradict each other", ""},
		{"no event", with(`"output"`, `""`), "the event is missing", ""},
		{"details", with(`"text":"x"`, `"text":"x","reason":"exit"`), "it is output but has details of an event", ""},
		{"of a hosted service", with(`"text":"x"`, `"message":"operation_id=42 x","tags":[]`), "", ""},
		{"of a hosted service, twice", with(`"text":"x"`, `"message":"operation_id=42 x","app":"web"`), twice, ""},
	} {
		var d decoder
		r, err := d.object([]byte(test.object))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if faults, form := strings.Join(r.Faults, "; "), strings.Join(r.Form, "; "); faults != test.faults || form != test.form {
			t.Errorf("%s: faults %q, form %q", test.name, faults, form)
		}
	}
	var d decoder
	if _, err := d.object([]byte(with(`"operation_id":"42"`, `"operation_id":""`))); err != errNoID {
		t.Errorf("without an operation ID: %v", err)
	}
	const line = `<134>1 2026-03-01T09:30:00.001234Z g web 42 output [session@32473 operation_id="42" sequence="2" offset="0" digest="` +
		`0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" text_digest="0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"%][meta sequenceId="2"] operation_id=42 x`
	for more, want := range map[string][2]string{
		"": {}, ` stream="stderr" stream="stdout"`: {twice, ""}, ` user="Eve"`: {"", isOther + "user"}, ` event="input"`: {"the events contradict each other", ""},
	} {
		r, err := d.message([]byte(strings.Replace(line, "%", more, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{strings.Join(r.Faults, "; "), strings.Join(r.Form, "; ")}; got != want {
			t.Errorf("%q: %q", more, got)
		}
	}
}

func TestEachName(t *testing.T) {
	var names []string
	eachName([]byte(` { "a" : "x\"},{\"b\":1" , "c\\" : [ 1, {"d": "e"}, "f" ], "" : {"g":{"h":2}}, "\u0069":null}`), func(name []byte) { names = append(names, string(name)) })
	if !slices.Equal(names, []string{"a", `c\`, "", "i"}) {
		t.Errorf("%q", names)
	}
}
