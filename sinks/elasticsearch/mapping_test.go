package elasticsearch

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// TestTemplateFields: the index template has the fields of a record's JSON Schema, all of them and
// no others.
func TestTemplateFields(t *testing.T) {
	var record struct{ Properties map[string]json.RawMessage }
	if err := json.Unmarshal(schema.RecordSchema(), &record); err != nil {
		t.Fatal(err)
	}
	want, got := slices.Sorted(maps.Keys(record.Properties)), slices.Sorted(maps.Keys(templateFields()))
	if !slices.Equal(got, want) {
		t.Errorf("the template has the fields\n%q, want\n%q", got, want)
	}
}

func TestMappingStep(t *testing.T) {
	s := &Sink{options: Options{DataStream: "logs-ssh-golden"}}
	fields := func(change func(map[string]field)) map[string]any {
		got := templateFields()
		if change != nil {
			change(got)
		}
		return map[string]any{"mappings": map[string]any{"properties": got}}
	}
	guessed := fields(func(f map[string]field) { // as Elasticsearch guesses
		clear(f)
		f["@timestamp"], f["app"], f["bytes"] = field{Type: "date"}, field{Type: "text", Fields: map[string]struct{ Type string }{"keyword": {"keyword"}}}, field{Type: "long"}
	})
	older := fields(func(f map[string]field) { delete(f, "ended_by") })
	for _, test := range []struct {
		name    string
		indexes map[string]any
		result  string
		words   string
	}{
		{"right", map[string]any{".ds-logs-ssh-golden-2026.11.22-000001": fields(nil)}, probe.ResultOK, "maps all"},
		{"of one's own as well", map[string]any{"i-000001": fields(func(f map[string]field) { f["region"] = field{Type: "keyword"} })}, probe.ResultOK, "maps all"},
		{"without a keyword", map[string]any{"i-000001": fields(func(f map[string]field) { f["command"] = field{Type: "text"} })}, probe.ResultWarning, "otherwise than ttydrain's index template: command is text and not text with keyword (analyzer ttydrain_visible). Records are taken"},
		{"of the template before", map[string]any{"i-000001": fields(func(f map[string]field) { f["text"] = field{Type: "text", Fields: f["text"].Fields} })}, probe.ResultWarning, "text is text with keyword and not text with keyword (analyzer ttydrain_visible)"},
		{"an object", map[string]any{"i-000001": fields(func(f map[string]field) { f["log"] = field{} })}, probe.ResultWarning, "log is object and not text"},
		{"one is missing", map[string]any{"i-000001": older}, probe.ResultWarning, "ended_by is not mapped"},
		{"guessed", map[string]any{"i-000001": guessed}, probe.ResultWarning, "@timestamp is date and not date_nanos, @version is not mapped, APTIBLE_USER_DOCUMENT is not mapped, app is text with keyword and not keyword, and "},
		{"rolled over to a wrong one", map[string]any{"i-000009": fields(nil), "i-000010": older}, probe.ResultWarning, "ended_by"},
		{"rolled over to the right one", map[string]any{"i-2026.11.21-000010": fields(nil), "i-2026.11.22-000009": older}, probe.ResultOK, "1 of its older indexes map some otherwise"},
		{"no fields", map[string]any{}, probe.ResultWarning, "has no fields mapped"},
	} {
		answer, err := json.Marshal(test.indexes)
		if err != nil {
			t.Fatal(err)
		}
		step := s.mappingStep(answer)
		if said := strings.Join(step.Facts, " ") + step.Problem; step.Result != test.result || !strings.Contains(said, test.words) {
			t.Errorf("%s: %+v, want %s and the words %q", test.name, step, test.result, test.words)
		}
		if warns := step.Result == probe.ResultWarning; warns != strings.Contains(step.Do, "POST /logs-ssh-golden/_rollover") {
			t.Errorf("%s: it says to do %q", test.name, step.Do)
		}
	}
	for _, answer := range []string{``, `[]`, `<html>CANARY</html>`, `{"i":[]}`} {
		if step := s.mappingStep([]byte(answer)); step.Result != probe.ResultNotTried || strings.Contains(strings.Join(step.Facts, " "), canary) {
			t.Errorf("the answer %s gives %+v", answer, step)
		}
	}
}

// TestProbeMapping goes the way to data streams in each of the states that they can be in.
func TestProbeMapping(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	expect := func(o Options, result, words string) {
		t.Helper()
		o.URLs = []string{node.URL}
		steps, ok := sinks.Try(t.Context(), newSink(t, o), nil)
		i := slices.IndexFunc(steps, func(s probe.Step) bool { return s.Name == stepMapping })
		if !ok || i < 0 {
			t.Fatalf("the steps are %+v", steps)
		}
		if said := strings.Join(steps[i].Facts, " ") + steps[i].Problem; steps[i].Result != result || !strings.Contains(said, words) {
			t.Errorf("got %+v, want %s and the words %q", steps[i], result, words)
		}
	}
	dataStream := node.DataStream(t)
	expect(Options{DataStream: dataStream}, probe.ResultWarning, "is not there yet, and no index template of ttydrain is for it")
	expect(Options{DataStream: dataStream, ManageTemplate: true}, probe.ResultOK, "before the first record")
	install(t, node, dataStream)
	expect(Options{DataStream: dataStream}, probe.ResultOK, "an index template that maps all fields of a record is")
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream}), entries(5))
	expect(Options{DataStream: dataStream}, probe.ResultOK, "maps all")

	guessing := node.DataStream(t) // of a template that leaves the types to Elasticsearch
	node.Do(t, http.MethodPut, "/_index_template/ttydrain-"+guessing, map[string]any{
		"index_patterns": []string{guessing}, "priority": 600, "data_stream": map[string]any{}})
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: guessing}), entries(5))
	expect(Options{DataStream: guessing, ManageTemplate: true}, probe.ResultWarning, "@timestamp is date and not date_nanos")
}

// TestCustomTemplate: what an operator puts into the component template is what the data stream
// has, besides all of ttydrain's own.
func TestCustomTemplate(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	install(t, node, dataStream)
	simulate := func() (got struct {
		Template struct {
			Lifecycle *struct {
				Enabled   bool
				Retention string `json:"data_retention"`
			}
			Settings struct{ Index map[string]any }
			Mappings struct{ Properties map[string]field }
		}
	}) {
		t.Helper()
		if err := json.Unmarshal(node.Do(t, http.MethodPost, "/_index_template/_simulate_index/"+dataStream, nil), &got); err != nil {
			t.Fatal(err)
		}
		if wrong := misfits(got.Template.Mappings.Properties); len(wrong) > 0 {
			t.Errorf("fields are mapped otherwise: %q", wrong)
		}
		if l := got.Template.Lifecycle; l == nil || !l.Enabled {
			t.Errorf("the lifecycle is %+v", l)
		}
		return got
	}
	if l := simulate().Template.Lifecycle; l != nil && l.Retention != "" {
		t.Errorf("records are deleted after %s, and nobody said so", l.Retention)
	}
	node.Do(t, http.MethodPut, "/_component_template/ttydrain@custom", map[string]any{"template": map[string]any{
		"lifecycle": map[string]any{"data_retention": "365d"}, "settings": map[string]any{"index.number_of_replicas": 2}}})
	t.Cleanup(func() { // it can't be deleted while templates of other tests name it
		node.Do(t, http.MethodPut, "/_component_template/ttydrain@custom", map[string]any{"template": map[string]any{}})
	})
	got := simulate().Template
	if got.Lifecycle != nil && got.Lifecycle.Retention != "365d" || got.Settings.Index["number_of_replicas"] != "2" || got.Settings.Index["codec"] != "best_compression" {
		t.Errorf("the data stream would have %+v and %v", got.Lifecycle, got.Settings.Index)
	}
}
