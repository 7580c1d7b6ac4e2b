package schema

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// deceiving are characters that make one text look like another, or control a terminal.
const deceiving = "\x00\x1b\x7f\u0080\u0085\u009b\u009f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"

func TestHidden(t *testing.T) {
	for _, r := range deceiving + "\n\t\u00ad\u034f\u115f\u180e\u200b\u200c\u200d\u2060\u2064\u3164\ufe0f\ufeff\uffa0\U000e0001\U000e0041\U000e0100" {
		if !IsHidden(r) {
			t.Errorf("%U is not hidden", r)
		}
	}
	for _, r := range " ~aäßéАя日本語한글עבריתعربיहिन्दीไทย😀\u00a0\u3000\ufffd" {
		if IsHidden(r) {
			t.Errorf("%U is hidden", r)
		}
	}
	for r, want := range map[rune]bool{'\u200d': true, '\u200c': true, '\ufe0f': true, '\u200b': false, '\u202e': false, 'a': false} {
		if IsJoiner(r) != want {
			t.Errorf("%U is a joiner: %t", r, !want)
		}
	}
}

// TestJSONEscapes: no kind of JSON output contains anything that controls a terminal, and the
// values are unchanged.
func TestJSONEscapes(t *testing.T) {
	text := "a" + deceiving + "ü日😀\ufeff" + deceiving + "\"\\"
	var raw, escaped bytes.Buffer
	for _, w := range []*json.Encoder{json.NewEncoder(&raw), json.NewEncoder(&JSONWriter{To: &escaped})} {
		w.SetIndent("", "  ")
		if err := w.Encode(map[string]any{text: []string{text}}); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(raw.String(), "\u009b") {
		t.Fatal("encoding/json escapes C1 controls by itself")
	}
	op := &Operation{ID: "1", User: User{Name: text, Email: text}, App: text, Host: text}
	record, err := new(Encoder).AppendRecord(nil, op, &Record{Log: []byte(text), Text: []byte(text), Detail: &Detail{Reason: text}})
	if err != nil {
		t.Fatal(err)
	}
	quoted, valid := AppendString(nil, []byte(text))
	if !valid {
		t.Error("the text is not valid")
	}
	for name, got := range map[string]string{"a JSONWriter": escaped.String(), "a record": string(record), "a string": string(quoted)} {
		if i := strings.IndexFunc(got, func(r rune) bool { return strings.ContainsRune(deceiving, r) }); i >= 0 {
			t.Errorf("%s has %q as it is", name, got[i:i+3])
		}
	}
	var back map[string][]string
	if err := json.Unmarshal(escaped.Bytes(), &back); err != nil || len(back[text]) != 1 || back[text][0] != text {
		t.Errorf("a JSONWriter's value is %q, %v", back, err)
	}
	var decoded struct {
		Log, Text string
		Name      string `json:"operation_user_name"`
	}
	if err := json.Unmarshal(record, &decoded); err != nil || decoded.Log != text || decoded.Text != text || decoded.Name != text {
		t.Errorf("a record's values are %q, %v", decoded, err)
	}
}
