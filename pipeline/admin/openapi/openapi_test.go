package openapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestCheckQuery checks the values of each kind of parameter.
func TestCheckQuery(t *testing.T) {
	o := &Operation{Query: []Parameter{{Name: "text", Kind: Text}, {Name: "all", Kind: Boolean}, {Name: "limit", Kind: Count}, {Name: "after", Kind: Integer},
		{Name: "since", Kind: Time}, {Name: "from", Kind: Now}}}
	for query, says := range map[string]string{
		"":                           "",
		"text=":                      "",
		"text=a+b&all=true&limit=1":  "",
		"after=0&from=now":           "",
		"after=9007199254740991":     "",
		"since=2026-01-31T09:30:00Z": "",
		"after=9007199254740992":     "after: expected a number",
		"limit=0":                    "limit: expected a number",
		"limit=":                     "limit: expected a number",
		"limit=+1":                   "limit: expected a number",
		"all=1":                      "all: expected true or false",
		"from=":                      "from: expected now",
		"since=2026-01-31":           "since: expected a time",
		"Text=x":                     `unknown parameter "Text"`,
		"text=a&text=b":              "text: expected one value",
		"text=%":                     "invalid query",
		"text=a;all=true":            "invalid query",
	} {
		err := o.CheckQuery(query)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", query, err, says)
		}
	}
}

// TestSchemas checks the schemas of Go types.
func TestSchemas(t *testing.T) {
	type Inner struct {
		At time.Time `json:"at"`
	}
	type Outer struct {
		*Inner
		Words  []string `json:"words,omitempty"`
		Data   []byte   `json:"data"`
		Count  uint64   `json:"count"`
		Status *int     `json:"status,omitzero"`
	}
	o := Operation{ID: "x", Tag: "t", Method: "POST", Path: "/x/{id}", Summary: "Do", Body: Inner{}, Result: Result{About: "Done.", Value: []Outer{}}}
	a := &API{Operations: []Operation{o}, Paths: map[string]Parameter{"id": {Name: "id", About: "an ID"}},
		Fields: map[string]Field{"Inner.at": {About: "a"}, "Outer.words": {About: "w", MinLength: 1}, "Outer.data": {About: "d"}, "Outer.count": {About: "c"}, "Outer.status": {About: "s"}}}
	data, err := a.Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Inner": `{"additionalProperties":false,"properties":{"at":{"description":"a","format":"date-time","type":"string"}},"required":["at"],"type":"object"}`,
		"Outer": `{"properties":{"at":{"description":"a","format":"date-time","type":"string"},"count":{"description":"c","minimum":0,"type":"integer"},` +
			`"data":{"contentEncoding":"base64","description":"d","type":"string"},"status":{"description":"s","type":"integer"},` +
			`"words":{"description":"w","items":{"type":"string"},"minItems":1,"type":"array"}},"required":["at","data","count"],"type":"object"}`,
	} {
		var value any
		if err := json.Unmarshal(document.Components.Schemas[name], &value); err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(value); string(got) != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
}
