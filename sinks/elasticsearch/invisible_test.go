package elasticsearch

import (
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// TestInvisibleCharactersDoNotBreakSearches: a word is found with whatever is in it that nobody
// sees, in the record or in the query.
func TestInvisibleCharactersDoNotBreakSearches(t *testing.T) {
	t.Run("Elasticsearch", func(t *testing.T) { searchInvisible(t, estest.Options{}) })
	t.Run("OpenSearch", func(t *testing.T) { searchInvisible(t, estest.Options{OpenSearch: true}) })
}

func searchInvisible(t *testing.T, o estest.Options) {
	node := nodes.Node(t, o)
	dataStream := node.DataStream(t)
	invisible := map[string]rune{
		"zero width space": '\u200b', "zero width non-joiner": '\u200c', "zero width joiner": '\u200d', "word joiner": '\u2060',
		"byte order mark": '\ufeff', "soft hyphen": '\u00ad', "right-to-left override": '\u202e', "isolate": '\u2066',
		"combining grapheme joiner": '\u034f', "variation selector": '\ufe0f', "variation selector 17": '\U000e0100',
		"tag": '\U000e0041', "Mongolian vowel separator": '\u180e', "Hangul filler": '\u3164', "musical symbol": '\U0001d173',
	}
	var texts, names []string
	for name, r := range invisible {
		names = append(names, name)
		texts = append(texts, "$ rm -rf /srv/pay"+string(r)+"roll"+string(r)+" now")
	}
	texts = append(texts, "⌫⟦$ cat payslip⟧ ⏎ $ ls", "$ ◌⟦payday⟧")
	batch := withTexts(texts...)
	interactive := true
	batch[0].Record.Event, batch[0].Record.Detail = schema.EventStart, &schema.Detail{Command: "pay\u200broll --all", Interactive: &interactive}
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true}), batch)
	found := func(query any) (all []string) {
		for _, source := range node.Search(t, dataStream, query) {
			all = append(all, string(source))
		}
		return all
	}
	phrase := func(field, words string) map[string]any {
		return map[string]any{"match_phrase": map[string]any{field: words}}
	}
	if got := found(phrase("text", "RM -rf /srv/payroll now")); len(got) != len(invisible) {
		t.Errorf("%d of %d records are found", len(got), len(invisible))
		for i, name := range names {
			if !strings.Contains(strings.Join(got, "\n"), texts[i]) {
				t.Errorf("not found with a %s", name)
			}
		}
	}
	for name, query := range map[string]map[string]any{
		"a query with such a character":  phrase("text", "srv pay\u200broll now"),
		"a pattern on the whole text":    {"wildcard": map[string]any{"text.keyword": "*/srv/payroll now"}},
		"the whole text, as it was seen": {"term": map[string]any{"text.keyword": "$ rm -rf /srv/payroll now"}},
	} {
		if got := found(query); len(got) != len(invisible) {
			t.Errorf("%s: %d records are found, want %d", name, len(got), len(invisible))
		}
	}
	for words, field := range map[string]string{"payroll --all": "command", "cat payslip": "text", "payday": "text"} {
		if got := found(phrase(field, words)); len(got) != 1 {
			t.Errorf("%q: %d records are found, want 1", words, len(got))
		}
	}
	// What was shown is kept as it was.
	if got := found(nil); !strings.Contains(strings.Join(got, "\n"), "pay\u200broll\u200b now") {
		t.Error("the record's text is not as it was written")
	}
}
