package elasticsearch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestRepeatAddsNothing(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	batch := entries(200)
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true}), batch[:150])
	// Another sink, as after a restart; the first records are there already.
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true, MaxRequestBytes: 20_000, Gzip: true}), batch)
	if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
		t.Errorf("the data stream holds %d records, want %d", got, len(batch))
	}
}

// TestSameNumbers has two installations that both began counting operations at 1.
func TestSameNumbers(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true})
	first, second := withTexts("of the first"), withTexts("of the second")
	for i, batch := range [][]sinks.Entry{first, second} {
		batch[0].Operation.ID = "1"
		batch[0].Operation.Started = time.Date(2026, 3, 14, 15, 9, 26, i, time.UTC)
		mustWrite(t, s, batch)
	}
	if got := len(node.Search(t, dataStream, nil)); got != 2 {
		t.Errorf("the data stream holds %d records, want 2: one installation's records were taken for the other's", got)
	}
}

func TestMapping(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	batch := withTexts("end", "output", "start", "resize", "gap", "gap of records", "input", "transfer")
	status, total, yes := 137, uint64(1<<40), true
	batch[0].Record.Event = schema.EventEnd
	// All that a record can have, at the limits: what a shell or a client chose must not get a
	// record refused.
	long := strings.Repeat("echo 0123456789; ", 10_000)
	batch[0].Record.Detail = &schema.Detail{ExitStatus: &status, Reason: long, EndedBy: long, EndedBecause: long, Bytes: &total, Signature: strings.Repeat("s", 50_000),
		InputBytes: &total, InputSHA256: strings.Repeat("a", 64)}
	batch[0].Operation.User.Name = strings.Repeat("Ada ", 10_000)
	batch[0].Operation.UserDocument = strings.Repeat("e", 100_000)
	batch[1].Record.Partial = true
	batch[1].Record.Log = bytes.Repeat([]byte{0xff}, sinktest.PartialSize) // three times as long in "log"
	batch[1].Record.Text = bytes.Repeat([]byte("x"), sinktest.PartialSize)
	batch[1].Record.Timing = bytes.Repeat([]byte("100000:1 "), sinktest.PartialSize)
	batch[2].Record.Event, batch[2].Record.Detail = schema.EventStart, &schema.Detail{Command: long, Interactive: &yes, Width: 1<<32 - 1, Height: 1<<32 - 1}
	batch[2].Record.Detail.Origin = schema.Origin{
		Address: "2001:db8::1", Client: "SSH-2.0-" + strings.Repeat("x", 247), Method: schema.MethodCertificate,
		Key: "SHA256:key", Serial: "18446744073709551615", CA: "SHA256:ca",
	}
	batch[3].Record.Event, batch[3].Record.Detail = schema.EventResize, &schema.Detail{Width: 80, Height: 24}
	// A number that no field of Elasticsearch holds is kept and not indexed.
	most := uint64(math.MaxUint64)
	batch[4].Record.Event, batch[4].Record.Detail = schema.EventGap, &schema.Detail{Bytes: &most, Reason: "lost"}
	gap := schema.Gap{First: 6, Last: most, End: most, Time: batch[5].Record.Time, Uncertain: true}
	batch[5].Record = gap.Record()
	batch[6].Record.Event, batch[6].Record.Detail = schema.EventInput, &schema.Detail{Input: bytes.Repeat([]byte{0xff}, sinktest.PartialSize)}
	batch[7].Record.Event, batch[7].Record.Detail = schema.EventTransfer, &schema.Detail{Path: long, Direction: schema.Upload, Size: &total, SHA256: strings.Repeat("b", 64)}
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true}), batch)
	if found := node.Search(t, dataStream, nil); len(found) != len(batch) {
		t.Errorf("%d of %d records are there", len(found), len(batch))
	}
	if found := search(t, node, dataStream, json.RawMessage(`{"terms": {"_ignored": ["bytes", "last_sequence"]}}`)); len(found) != 2 {
		t.Errorf("%d records have numbers that are not indexed, want 2", len(found))
	}

	var indices map[string]struct {
		DataStream string `json:"data_stream"`
		Mappings   struct {
			Properties map[string]struct {
				Type      string
				Index     *bool
				DocValues *bool `json:"doc_values"`
				Fields    map[string]struct{ Type string }
			}
		}
		Settings struct{ Index struct{ Mode, Codec string } }
	}
	if err := json.Unmarshal(node.Do(t, http.MethodGet, "/"+dataStream, nil), &indices); err != nil {
		t.Fatal(err)
	}
	if len(indices) != 1 {
		t.Fatalf("%d indices are behind the data stream, want 1", len(indices))
	}
	fields := make(map[string]bool)
	for _, source := range node.Search(t, dataStream, nil) {
		var document map[string]any
		if err := json.Unmarshal(source, &document); err != nil {
			t.Fatal(err)
		}
		for name := range document {
			fields[name] = true
		}
	}
	const unindexed = "text, not indexed"
	want := map[string]string{
		"@timestamp": "date_nanos", "time": "date_nanos",
		"@version": "keyword", "type": "keyword", "event": "keyword", "stream": "keyword", "offset": "keyword", "digest": "keyword",
		"host": "keyword", "layer": "keyword", "service": "keyword", "stack": "keyword", "app": "keyword", "app_id": "keyword",
		"source": "keyword", "container": "keyword", "file": "keyword", "reason": "keyword",
		"operation_id": "keyword", "operation_user_name": "keyword", "operation_user_email": "keyword",
		"sequence": "long", "bytes": "long", "exit_status": "long", "width": "long", "height": "long",
		"origin_address": "ip", "origin_client": "keyword", "origin_method": "keyword",
		"origin_key": "keyword", "origin_serial": "keyword", "origin_ca": "keyword",
		"ended_by": "keyword", "ended_because": "keyword", "last_sequence": "long",
		"partial": "boolean", "interactive": "boolean", "uncertain": "boolean",
		"input_base64": "binary", "input_bytes": "long", "input_sha256": "keyword", "path": "keyword", "direction": "keyword", "size": "long", "sha256": "keyword",
		"text": "text and keyword", "command": "text and keyword",
		"log": unindexed, "timing": unindexed, "signature": unindexed, "APTIBLE_USER_DOCUMENT": unindexed, "log_base64": "binary",
	}
	for _, index := range indices {
		if index.DataStream != dataStream || index.Settings.Index.Mode != "standard" || index.Settings.Index.Codec != "best_compression" {
			t.Errorf("the index is of the data stream %q, with %+v", index.DataStream, index.Settings.Index)
		}
		got := make(map[string]string)
		for name, p := range index.Mappings.Properties {
			got[name] = p.Type
			if p.Index != nil && !*p.Index {
				got[name] += ", not indexed"
			}
			if p.Fields["keyword"].Type == "keyword" {
				got[name] += " and keyword"
			}
		}
		for name := range fields {
			if want[name] == "" {
				t.Errorf("records have the field %s, which the template does not map: it became %s", name, got[name])
			}
		}
		for name, kind := range want {
			if got[name] != kind {
				t.Errorf("%s is mapped as %q, want %q", name, got[name], kind)
			}
			if !fields[name] && name != "partial" {
				t.Errorf("no record of this test has the field %s", name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d fields are mapped, want %d: %v", len(got), len(want), got)
		}
	}
	for _, name := range []string{"partial", "log_base64", "signature", "timing"} {
		if !fields[name] {
			t.Errorf("no record of this test has the field %s", name)
		}
	}
}

func TestSearchText(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	batch := withTexts("total 48", "drwxr-xr-x 2 ada staff Gemfile", "rake db:migrate finished")
	batch[1].Record.Log = []byte("\x1b[31mcoloured\x1b[0m\r\n")
	batch[1].Record.Digest = sha256.Sum256(batch[1].Record.Log)
	mustWrite(t, newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true}), batch)
	op := batch[0].Operation
	for _, test := range []struct {
		query string
		want  []uint64
	}{
		{`{"match": {"text": "gemfile"}}`, []uint64{2}},
		{`{"match_phrase": {"text": "migrate finished"}}`, nil}, // "db:migrate" is one word
		{`{"match_phrase": {"text": "db:migrate finished"}}`, []uint64{3}},
		{`{"term": {"text.keyword": "total 48"}}`, []uint64{1}},
		{`{"term": {"operation_id": "` + op.ID + `"}}`, []uint64{1, 2, 3}},
		{`{"term": {"operation_user_email": "` + op.User.Email + `"}}`, []uint64{1, 2, 3}},
		{`{"range": {"sequence": {"gt": 1}}}`, []uint64{2, 3}},
		{`{"term": {"event": "start"}}`, nil},
		{`{"term": {"digest": "` + batch[1].Record.Digest.String() + `"}}`, []uint64{2}},
		{`{"range": {"@timestamp": {"gte": "2026-03-14", "lt": "2026-03-15"}}}`, []uint64{1, 2, 3}},
	} {
		var got []uint64
		for _, d := range search(t, node, dataStream, json.RawMessage(test.query)) {
			got = append(got, d.Sequence)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s finds records %d, want %d", test.query, got, test.want)
		}
	}
}

func TestPipeline(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	pipeline := dataStream + "-enrich"
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true, Pipeline: pipeline})
	batch := entries(20)

	wantFailure(t, s.Probe(t.Context()), sinks.Misconfigured, 404, "the ingest pipeline "+pipeline+" does not exist")
	wantFailure(t, write(t, s, batch), sinks.Misconfigured, 400, "the ingest pipeline "+pipeline+" does not exist: create it")

	node.Do(t, http.MethodPut, "/_ingest/pipeline/"+pipeline, json.RawMessage(`{"processors": [{"set": {"field": "region", "value": "eu-1"}}]}`))
	t.Cleanup(func() { node.Try(t, http.MethodDelete, "/_ingest/pipeline/"+pipeline, nil) })
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	mustWrite(t, s, batch)
	found := search(t, node, dataStream, json.RawMessage(`{"term": {"region": "eu-1"}}`)) // found: an added field is mapped
	if len(found) != len(batch) || found[0].Region != "eu-1" {
		t.Errorf("%d records went through the pipeline, want %d", len(found), len(batch))
	}
}

func TestBlockedIndex(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true})
	first, second := entries(20), entries(20)
	mustWrite(t, s, first)
	block := func(yes bool) {
		node.Do(t, http.MethodPut, "/"+dataStream+"/_settings", map[string]any{"index.blocks.write": yes})
	}
	block(true)
	wantFailure(t, write(t, s, second), sinks.Retry, 403, "the index takes no writes")
	block(false)
	mustWrite(t, s, second)
	if got := len(node.Search(t, dataStream, nil)); got != len(first)+len(second) {
		t.Errorf("the data stream holds %d records, want %d", got, len(first)+len(second))
	}
}

// TestRejectedRecords has a template of somebody's own in which "text" is a number.
func TestRejectedRecords(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	node.Do(t, http.MethodPut, "/_index_template/"+dataStream, map[string]any{
		"index_patterns": []string{dataStream}, "priority": 600, "data_stream": map[string]any{},
		"template": map[string]any{"mappings": map[string]any{"properties": map[string]any{
			"text": map[string]any{"type": "long"}, "operation_id": map[string]any{"type": "keyword"},
		}}},
	})
	t.Cleanup(func() { node.Try(t, http.MethodDelete, "/_index_template/"+dataStream, nil) })
	texts := make([]string, 300)
	for i := range texts {
		texts[i] = fmt.Sprint(i)
	}
	texts[7], texts[250] = canary, canary
	batch := withTexts(texts...)
	// In one request, and in many.
	for _, limit := range []int{0, 20_000} {
		s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, MaxRequestBytes: limit})
		e := failure(t, write(t, s, batch))
		if len(e.Items) != 2 || e.Items[0].Index != 7 || e.Items[1].Index != 250 {
			t.Fatalf("limit %d: the records that were not taken are %+v, want 7 and 250", limit, e.Items)
		}
		for _, item := range e.Items {
			if item.Verdict != sinks.Rejected || item.Status != 400 || !strings.Contains(item.Message(), "document_parsing_exception") {
				t.Errorf("limit %d: got %+v", limit, item)
			}
			if strings.Contains(item.Message(), canary) || strings.Contains(e.Error(), canary) {
				t.Errorf("limit %d: the error quotes the record", limit)
			}
		}
		if got := len(node.Search(t, dataStream, nil)); got != len(batch)-2 {
			t.Errorf("limit %d: the data stream holds %d records, want %d", limit, got, len(batch)-2)
		}
	}
}

func TestNoDataStream(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	name := strings.Replace(node.DataStream(t), "logs-", "own-", 1) // for which Elasticsearch has no template
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: name})
	wantFailure(t, write(t, s, entries(3)), sinks.Misconfigured, 404, name+" is no data stream and no index template makes it one")
	if status, _ := node.Try(t, http.MethodHead, "/"+name, nil); status != http.StatusNotFound {
		t.Errorf("an index was created: HEAD answers %d", status)
	}
	node.Do(t, http.MethodPut, "/"+name, nil)
	t.Cleanup(func() { node.Do(t, http.MethodDelete, "/"+name, nil) })
	wantFailure(t, write(t, s, entries(3)), sinks.Misconfigured, 404, "is no data stream")
}

// TestProxyLimit has a proxy that takes smaller requests than Elasticsearch and answers before it
// has read them.
func TestProxyLimit(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	to, err := url.Parse(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 200_000
	reverse := httputil.NewSingleHostReverseProxy(to)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			http.Error(w, canary, http.StatusRequestEntityTooLarge)
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	batch := entries(6000)
	for _, packed := range []bool{false, true} {
		dataStream := node.DataStream(t)
		s := newSink(t, Options{URLs: []string{proxy.URL}, DataStream: dataStream, ManageTemplate: true, MaxRequestBytes: 4 << 20, Gzip: packed})
		for range 3 {
			err := write(t, s, batch)
			if e := failure(t, err); e.Verdict != sinks.TooLarge || e.Status != 413 || !strings.Contains(e.Message(), "max_request_bytes") {
				t.Errorf("%+v", e)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error quotes the answer: %v", err)
			}
		}
		// As the pipeline does.
		var halve func(batch []sinks.Entry)
		halve = func(batch []sinks.Entry) {
			err := write(t, s, batch)
			if err == nil {
				return
			}
			if e := failure(t, err); e.Verdict != sinks.TooLarge || len(batch) == 1 {
				t.Fatalf("%d records: %v", len(batch), err)
			}
			halve(batch[:len(batch)/2])
			halve(batch[len(batch)/2:])
		}
		halve(batch)
		if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
			t.Errorf("gzip %v: the data stream holds %d records, want %d", packed, got, len(batch))
		}
	}
}

// TestCompressedAnswers has a proxy that compresses all responses, whatever the requests say.
func TestCompressedAnswers(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	to, err := url.Parse(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	encoding := "gzip"
	asked := make(map[string]bool) // the proxy has one request at a time
	reverse := httputil.NewSingleHostReverseProxy(to)
	reverse.ModifyResponse = func(r *http.Response) error {
		asked[r.Request.Header.Get("Accept-Encoding")] = true
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(data)
		z.Close()
		r.Body, r.ContentLength = io.NopCloser(&packed), int64(packed.Len())
		r.Header.Set("Content-Encoding", encoding)
		r.Header.Set("Content-Length", fmt.Sprint(packed.Len()))
		return nil
	}
	proxy := httptest.NewServer(reverse)
	defer proxy.Close()
	dataStream := node.DataStream(t)
	s := newSink(t, Options{URLs: []string{proxy.URL}, DataStream: dataStream, ManageTemplate: true})
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	batch := entries(100)
	mustWrite(t, s, batch)
	mustWrite(t, s, batch)
	if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
		t.Errorf("the data stream holds %d records, want %d", got, len(batch))
	}
	if len(asked) != 1 || !asked["identity"] {
		t.Errorf("requests accepted %v", asked)
	}
	encoding = "br"
	wantFailure(t, write(t, s, batch), sinks.Misconfigured, 200, "the answer is compressed, although none was asked for")
}

func TestTransportFailures(t *testing.T) {
	batch := entries(3)
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"errors":false,"items":[]}`)
	}))
	other.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of handshakes that should fail
	other.StartTLS()
	defer other.Close()
	ca := t.TempDir() + "/ca.pem"
	writePEM(t, ca, other.Certificate().Raw)

	s := newSink(t, Options{URLs: []string{other.URL}, DataStream: "logs-ssh-test"})
	wantFailure(t, write(t, s, batch), sinks.Misconfigured, 0, "ca_file")
	wantFailure(t, s.Probe(t.Context()), sinks.Misconfigured, 0, "ca_file")

	// It answers as if it had written, and it is not Elasticsearch.
	s = newSink(t, Options{URLs: []string{other.URL}, DataStream: "logs-ssh-test", TLS: sinks.TLS{CAFile: ca}})
	wantFailure(t, write(t, s, batch), sinks.Misconfigured, 0, "neither Elasticsearch nor OpenSearch")
	wantFailure(t, s.Probe(t.Context()), sinks.Misconfigured, 0, "neither Elasticsearch nor OpenSearch")

	s = newSink(t, Options{URLs: []string{"http://127.0.0.1:1"}, DataStream: "logs-ssh-test", ManageTemplate: true})
	wantFailure(t, write(t, s, batch), sinks.Retry, 0, "nothing listens there")

	hangs, end := context.WithCancel(t.Context())
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs.Done() }))
	defer silent.Close()
	defer end()
	s = newSink(t, Options{URLs: []string{silent.URL}, DataStream: "logs-ssh-test", Timeout: 10 * time.Millisecond})
	wantFailure(t, write(t, s, batch), sinks.Retry, 0, "no answer in time")
}

// TestSeveralURLs has one member that is down: what it costs is a failed request, once.
func TestSeveralURLs(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	s := newSink(t, Options{URLs: []string{"http://127.0.0.1:1", node.URL}, DataStream: dataStream, ManageTemplate: true})
	failures, written := 0, 0
	for range 10 {
		batch := entries(5)
		if err := write(t, s, batch); err != nil {
			wantFailure(t, err, sinks.Retry, 0, "nothing listens there")
			failures++
			continue
		}
		written += len(batch)
	}
	if failures != 1 {
		t.Errorf("%d of 10 batches failed, want 1", failures)
	}
	if got := len(node.Search(t, dataStream, nil)); got != written {
		t.Errorf("the data stream holds %d records, want %d", got, written)
	}
}

func TestSurvivesRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a node of its own")
	}
	node := estest.Start(t, estest.Options{Security: true})
	dataStream := node.DataStream(t)
	install(t, node, dataStream)
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: node.APIKey(t, dataStream)})
	batch := entries(50)
	mustWrite(t, s, batch[:25])
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	err := write(t, s, batch)
	for range 300 {
		// The connection that was kept is dead, and the shards take a moment. As long as that of
		// the API keys is not there, the response is 401.
		if err == nil {
			break
		}
		if e := failure(t, err); e.Verdict != sinks.Retry && e.Status != http.StatusUnauthorized {
			t.Fatalf("got %v: %v", e.Verdict, e)
		}
		<-again.C
		err = write(t, s, batch)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
		t.Errorf("the data stream holds %d records, want %d", got, len(batch))
	}
}
