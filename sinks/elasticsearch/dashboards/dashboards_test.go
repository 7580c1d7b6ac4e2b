package dashboards_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/dashboards"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/dashboards/dashtest"
)

const pattern = "logs-of-a-test-*"

// mapping gives the types of the fields of ttydrain's index template, those below others too.
func mapping(t *testing.T) map[string]string {
	t.Helper()
	type field struct {
		Type   string
		Index  *bool
		Fields map[string]struct{ Type string }
	}
	var template struct {
		Template struct {
			Mappings struct{ Properties map[string]field }
		}
	}
	_, data := elasticsearch.IndexTemplate("logs-of-a-test-1")
	if err := json.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	for name, f := range template.Template.Mappings.Properties {
		types[name] = f.Type
		if f.Index != nil && !*f.Index {
			types[name] = "not indexed"
		}
		for below, f := range f.Fields {
			types[name+"."+below] = f.Type
		}
	}
	return types
}

// TestDashboards holds the dashboards to the forms that Kibana and Grafana read, to the fields that
// there are, and to each other. What their queries find is tested with real sessions, by
// cmd/ttydrain/e2e.
func TestDashboards(t *testing.T) {
	shown := dashtest.Range{From: time.Unix(0, 0), To: time.Unix(60, 0)}
	objects, err := dashboards.Kibana(pattern)
	if err != nil {
		t.Fatal(err)
	}
	kibana, err := dashtest.Kibana(objects, shown)
	if err != nil {
		t.Fatalf("Kibana: %v", err)
	}
	grafana, err := dashtest.Grafana(dashboards.Grafana(), shown, nil)
	if err != nil {
		t.Fatalf("Grafana: %v", err)
	}
	types := mapping(t)
	titles := func(panels []dashtest.Panel) (titles []string) {
		for _, p := range panels {
			titles = append(titles, p.Title)
			for _, f := range p.Fields {
				// Those have their values in columns, to group, add and sort by.
				if !slices.Contains([]string{"keyword", "long", "boolean", "date_nanos"}, types[f]) {
					t.Errorf("panel %s works with the values of %q, which is %q", p.Title, f, types[f])
				}
			}
			for _, f := range p.Shown {
				if types[f] == "" {
					t.Errorf("panel %s shows %q, which is no field", p.Title, f)
				}
			}
			body, err := json.Marshal(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(body), "test-") || !slices.Contains(p.Fields, "operation_id") {
				t.Errorf("panel %s shows the records of drain tests: %s", p.Title, body)
			}
		}
		slices.Sort(titles)
		if len(slices.Compact(slices.Clone(titles))) != len(titles) {
			t.Errorf("two panels have the same title: %q", titles)
		}
		return titles
	}
	if k, g := titles(kibana), titles(grafana); !slices.Equal(k, g) || len(k) < 20 {
		t.Errorf("the dashboards have not the same panels:\nKibana  %q\nGrafana %q", k, g)
	}
	for _, p := range kibana {
		if p.Index != pattern {
			t.Errorf("Kibana's panel %s asks %q", p.Title, p.Index)
		}
	}
}

// TestReadersRefuse: the readers of the tests understand all that is in the dashboards, or say so.
func TestReadersRefuse(t *testing.T) {
	shown := dashtest.Range{From: time.Unix(0, 0), To: time.Unix(60, 0)}
	objects, err := dashboards.Kibana(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ before, after string }{
		{`\"operationType\":\"sum\"`, `\"operationType\":\"median\"`},
		{`\"metricAccessor\":\"m\"`, `\"metricAccessor\":\"n\"`},
		{`\"incompleteColumns\"`, `\"incomplete\"`},
		{`"id":"ttydrain-failed-sessions","name"`, `"id":"ttydrain-other","name"`},
		{`\"language\":\"lucene\",\"query\":\"event:gap\"`, `\"language\":\"kuery\",\"query\":\"event:gap\"`},
		{`\"y\":6`, `\"y\":5`},
		{`\"interval\":\"auto\"`, `\"interval\":\"1d\"`},
	} {
		broken := strings.ReplaceAll(string(objects), test.before, test.after)
		if broken == string(objects) {
			t.Errorf("%s is not in the dashboard for Kibana", test.before)
		} else if _, err := dashtest.Kibana([]byte(broken), shown); err == nil {
			t.Errorf("Kibana: %s in the place of %s is taken", test.after, test.before)
		}
	}
	for _, test := range []struct{ before, after string }{
		{`"type": "sum"`, `"type": "median"`}, {`$stack`, `$stock`}, {`"bucketAggs"`, `"aggs"`}, {`"x": 12`, `"x": 13`},
		{`"type": "stat"`, `"type": "gauge"`}, {`"orderBy": "1"`, `"orderBy": "7"`}, {`"interval": "auto"`, `"interval": "1d"`},
	} {
		broken := strings.ReplaceAll(string(dashboards.Grafana()), test.before, test.after)
		if broken == string(dashboards.Grafana()) {
			t.Errorf("%s is not in the dashboard for Grafana", test.before)
		} else if _, err := dashtest.Grafana([]byte(broken), shown, nil); err == nil {
			t.Errorf("Grafana: %s in the place of %s is taken", test.after, test.before)
		}
	}
}
