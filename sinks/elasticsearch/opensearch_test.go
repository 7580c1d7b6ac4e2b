package elasticsearch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestOpenSearchConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		return conformanceTarget(t, nodes.Node(t, estest.Options{OpenSearch: true}))
	})
}

// TestOpenSearch writes to a node of OpenSearch with the settings that Elasticsearch takes, and
// with the product named.
func TestOpenSearch(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	for _, product := range []Product{"", Auto, OpenSearch} {
		dataStream := node.DataStream(t)
		var log strings.Builder
		s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true, Product: product, Gzip: true, Log: logTo(&log)})
		if err := s.Probe(t.Context()); err != nil {
			t.Fatalf("%q: Probe: %v", product, err)
		}
		batch := entries(200)
		mustWrite(t, s, batch[:150])
		mustWrite(t, s, batch)
		if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
			t.Errorf("%q: the data stream holds %d records, want %d", product, got, len(batch))
		}
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%q: %s", product, &log)
		}
		var streams struct {
			List []struct{ Template string } `json:"data_streams"`
		}
		if err := json.Unmarshal(node.Do(t, http.MethodGet, "/_data_stream/"+dataStream, nil), &streams); err != nil || len(streams.List) != 1 ||
			streams.List[0].Template != "ttydrain-"+dataStream {
			t.Errorf("%q: %+v, %v", product, streams, err)
		}
	}
}

// TestOpenSearchTemplate installs what an operator would, and settings of an operator's own.
func TestOpenSearchTemplate(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	dataStream := node.DataStream(t)
	name, body := OpenSearchTemplate(dataStream)
	node.Do(t, http.MethodPut, "/_index_template/"+name, json.RawMessage(body))
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream})
	mustWrite(t, s, entries(5))
	var mapped map[string]struct {
		Mappings struct{ Properties map[string]field }
	}
	if err := json.Unmarshal(node.Do(t, http.MethodGet, "/"+dataStream+"/_mapping", nil), &mapped); err != nil || len(mapped) != 1 {
		t.Fatalf("%d indexes, %v", len(mapped), err)
	}
	for _, index := range mapped {
		if wrong := misfits(index.Mappings.Properties); len(wrong) > 0 {
			t.Errorf("the data stream maps fields otherwise: %v", wrong)
		}
	}

	other := node.DataStream(t)
	node.Do(t, http.MethodPut, "/_component_template/"+customTemplate, json.RawMessage(`{"template": {"settings": {"index": {"number_of_replicas": 0}}}}`))
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: other, ManageTemplate: true}), entries(5))
	if settings := string(node.Do(t, http.MethodGet, "/"+other+"/_settings", nil)); !strings.Contains(settings, `"number_of_replicas":"0"`) {
		t.Errorf("the component template is of no effect: %s", settings)
	}
}

func TestOpenSearchNoDataStream(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	name := node.DataStream(t)
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: name})
	wantFailure(t, write(t, s, entries(3)), sinks.Misconfigured, 404, name+" is no data stream and no index template makes it one")
	if status, _ := node.Try(t, http.MethodHead, "/"+name, nil); status != http.StatusNotFound {
		t.Errorf("an index was created: HEAD answers %d", status)
	}
	node.Do(t, http.MethodPut, "/"+name, nil)
	t.Cleanup(func() { node.Do(t, http.MethodDelete, "/"+name, nil) })
	wantFailure(t, write(t, s, entries(3)), sinks.Misconfigured, 404, "is no data stream")
}

// TestOpenSearchItems has answers about single records: mapping errors, an absent pipeline, a
// block.
func TestOpenSearchItems(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	dataStream := node.DataStream(t)
	node.Do(t, http.MethodPut, "/_index_template/"+dataStream, map[string]any{
		"index_patterns": []string{dataStream}, "priority": 600, "data_stream": map[string]any{},
		"template": map[string]any{"mappings": map[string]any{"properties": map[string]any{
			"text": map[string]any{"type": "long"}, "operation_id": map[string]any{"type": "keyword"},
		}}},
	})
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream})
	err := write(t, s, withTexts("1", canary, "3"))
	e := failure(t, err)
	if len(e.Items) != 1 || e.Items[0].Index != 1 || e.Items[0].Verdict != sinks.Rejected || e.Items[0].Status != 400 ||
		!strings.Contains(e.Items[0].Message(), "OpenSearch answered 400 (mapper_parsing_exception)") || strings.Contains(err.Error(), canary) {
		t.Errorf("%+v", e)
	}
	wantFailure(t, write(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, Pipeline: "absent"}), withTexts("4")),
		sinks.Misconfigured, 400, "the ingest pipeline absent does not exist: create it")
	node.Do(t, http.MethodPut, "/"+dataStream+"/_settings", map[string]any{"index.blocks.write": true})
	wantFailure(t, write(t, s, withTexts("5")), sinks.Retry, 403, "the index takes no writes")
}

// TestOpenSearchBehindProxies has proxies with responses of their own to GET /. What they pass on
// is real.
func TestOpenSearchBehindProxies(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	to, err := url.Parse(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	const noMonitor = `{"error":{"root_cause":[{"type":"security_exception"}],"type":"security_exception","reason":"no permissions for [cluster:monitor/main]"},"status":403}`
	const unauthorized = `{"error":{"type":"security_exception","reason":"action [cluster:monitor/main] is unauthorized for API key id [x]"},"status":403}`
	for name, test := range map[string]struct {
		status  int
		body    string
		options Options
		words   string // of the error; "" for none
	}{
		"no permission for GET /":       {403, noMonitor, Options{}, ""},
		"a product that is named":       {200, "welcome", Options{Product: OpenSearch}, ""},
		"an API key":                    {401, "Unauthorized", Options{APIKey: "aWQ6a2V5"}, "API key"},
		"something else":                {200, `{"tagline":"welcome"}`, Options{}, "neither Elasticsearch nor OpenSearch"},
		"an old version's number":       {200, `{"version":{"number":"7.10.2"},"tagline":"The OpenSearch Project: https://opensearch.org/"}`, Options{}, ""},
		"a refusal as by Elasticsearch": {403, unauthorized, Options{}, "set product if it is OpenSearch"},
		"Elasticsearch is named":        {200, "welcome", Options{Product: Elasticsearch}, "set product if it is OpenSearch"},
	} {
		reverse := httputil.NewSingleHostReverseProxy(to)
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				w.WriteHeader(test.status)
				w.Write([]byte(test.body))
				return
			}
			reverse.ServeHTTP(w, r)
		}))
		dataStream := node.DataStream(t)
		name0, body := OpenSearchTemplate(dataStream)
		node.Do(t, http.MethodPut, "/_index_template/"+name0, json.RawMessage(body))
		o := test.options
		o.URLs, o.DataStream = []string{proxy.URL}, dataStream
		err := write(t, newSink(t, o), entries(3))
		switch {
		case test.words == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.words != "" && (err == nil || !strings.Contains(err.Error(), test.words)):
			t.Errorf("%s: %v, want %q", name, err, test.words)
		}
		proxy.Close()
	}
}

// TestOpenSearchSteps has the report of a test by `drains test` and `check --connect`.
func TestOpenSearchSteps(t *testing.T) {
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	dataStream := node.DataStream(t)
	record := withTexts("a test")[0]
	steps, ok := sinks.Try(t.Context(), newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true}), &record)
	var facts []string
	for _, s := range steps {
		facts = append(facts, s.Facts...)
	}
	found := func(words string) bool {
		return slices.ContainsFunc(facts, func(f string) bool { return strings.Contains(f, words) })
	}
	if !ok || !found("OpenSearch asks for no credentials") || !found("a search in the data stream "+dataStream+" finds it") {
		t.Errorf("%v: %+v", ok, steps)
	}
}

// TestReadBack reads more than a page from data streams in which every record is twice: in the
// backing index that was written to when a response was lost, and in the one after it.
func TestReadBack(t *testing.T) {
	for _, o := range []estest.Options{{}, {OpenSearch: true}} {
		node := nodes.Node(t, o)
		dataStream := node.DataStream(t)
		s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true})
		batch := entries(1300)
		mustWrite(t, s, batch)
		node.Do(t, http.MethodPost, "/"+dataStream+"/_rollover", nil)
		mustWrite(t, s, batch)
		node.Do(t, http.MethodPost, "/"+dataStream+"/_refresh", nil)
		read := make(map[string]int)
		search := replay.Search{URL: node.URL, Index: dataStream}
		err := search.Read(t.Context(), replay.Visitor{Record: func(r *replay.Record) error {
			read[fmt.Sprint(r.Operation.ID, " ", r.Sequence)]++
			return nil
		}})
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		for _, e := range batch {
			key := fmt.Sprint(e.Operation.ID, " ", e.Record.Sequence)
			if read[key] != 2 {
				t.Fatalf("%+v: record %s was read %d times, want 2", o, key, read[key])
			}
		}
	}
}
