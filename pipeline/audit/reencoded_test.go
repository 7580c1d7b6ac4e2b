package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// TestReencoded checks that copies which a receiver decoded and encoded again cause no alarm, and
// that nothing is claimed that the receiver did not keep.
func TestReencoded(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	forms := make(map[string]replaytest.Form)
	for _, f := range replaytest.Forms() {
		forms[f.Name] = f
	}
	decoded := func(form, id string) (records []map[string]any) {
		s := replaytest.NewSession(t, key, id, replaytest.Options{Pieces: 30, Killed: true, Input: []string{"x\n"}})
		for _, data := range forms[form].Write(t, s.Entries()) {
			var record map[string]any
			if err := json.Unmarshal(data, &record); err != nil {
				t.Fatal(err)
			}
			records = append(records, record)
		}
		return records
	}
	const all = "who where when bytes texts order"
	for _, test := range []struct {
		name, form, proven string
		encode             func(r map[string]any) any
	}{
		{"keys sorted", "ndjson", all, func(r map[string]any) any { return r }},
		{"in an index", "ndjson", all, func(r map[string]any) any {
			return map[string]any{"_index": "logs", "_id": "42-1", "_score": nil, "_source": r, "sort": []int{1}}
		}},
		// An index with synthetic source returns what its fields hold: of dates, milliseconds.
		{"times in milliseconds", "ndjson", "who where bytes texts order", func(r map[string]any) any {
			for _, name := range []string{"@timestamp", "time"} {
				at, _ := time.Parse(time.RFC3339Nano, r[name].(string))
				r[name] = at.Format("2006-01-02T15:04:05.000Z")
			}
			return r
		}},
		{"one time in milliseconds", "ndjson", all, func(r map[string]any) any {
			at, _ := time.Parse(time.RFC3339Nano, r["@timestamp"].(string))
			r["@timestamp"] = at.Format("2006-01-02T15:04:05.000Z")
			return r
		}},
		{"as Datadog answers", "datadog", all, func(r map[string]any) any {
			outer := map[string]any{"message": r["message"], "timestamp": "2026-03-01T09:30:00.001Z", "tags": []string{"a:b"}, "status": "info", "attributes": r}
			for _, name := range []string{"host", "service"} { // which it treats as its own
				outer[name] = r[name]
				delete(r, name)
			}
			delete(r, "message")
			r["ddtags"] = "added"
			return map[string]any{"id": "AQ", "type": "log", "attributes": outer}
		}},
	} {
		for _, id := range []string{"41", "42"} {
			var lines []string
			for _, r := range decoded(test.form, id) {
				data, err := json.Marshal(test.encode(r))
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, string(data))
			}
			slices.Reverse(lines)
			results, summary := audited(t, checker, []byte(strings.Join(append(lines, lines[3:9]...), "\n")))
			r := results[id]
			if got := strings.Join(r.Proven, " "); r.Verdict != Intact || got != test.proven || summary.BrokenCount > 0 {
				t.Errorf("%s, %s: %s, %s, %+v; %+v", test.name, id, r.Verdict, got, r.Findings, summary)
			}
		}
	}
}
