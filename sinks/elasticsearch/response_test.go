package elasticsearch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// canary is in the captured answers where Elasticsearch quotes what it was sent.
const canary = "CANARY"

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReadItems(t *testing.T) {
	type item struct {
		index   int
		verdict sinks.Verdict
		status  int
		words   string
	}
	busy := func(indexes ...int) (items []item) {
		for _, i := range indexes {
			items = append(items, item{i, sinks.Retry, 429, "busy"})
		}
		return items
	}
	tests := []struct {
		file string
		n    int
		want []item
	}{
		{"created", 3, nil},
		{"repeat", 3, nil},
		{"mapping", 3, []item{{1, sinks.Rejected, 400, "400 (document_parsing_exception): the record does not fit the mapping"}}},
		{"pipeline_missing", 1, []item{{0, sinks.Misconfigured, 400, "the ingest pipeline clean does not exist: create it, or correct pipeline"}}},
		{"no_template", 1, []item{{0, sinks.Misconfigured, 404, "logs-ssh-golden is no data stream and no index template makes it one"}}},
		{"not_a_data_stream", 1, []item{{0, sinks.Misconfigured, 404, "is no data stream"}}},
		{"write_block", 1, []item{{0, sinks.Retry, 403, "the index takes no writes"}}},
		{"flood_stage", 1, []item{{0, sinks.Retry, 429, "free disk space"}}},
		{"closed", 1, []item{{0, sinks.Misconfigured, 400, "closed: open it"}}},
		{"shard_limit", 1, []item{{0, sinks.Misconfigured, 400, "limit of shards"}}},
		{"bad_name", 1, []item{{0, sinks.Misconfigured, 404, "is no data stream"}}},
		{"forbidden", 1, []item{{0, sinks.Misconfigured, 403, "create_doc and, until it exists, auto_configure on the data stream logs-ssh-golden"}}},
		{"busy", 12, busy(busyItems(t)...)},
		{"failure_store", 2, []item{{1, sinks.Rejected, 201, "failure store"}}},
	}
	o := Options{DataStream: "logs-ssh-golden", Pipeline: "clean"}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			const first = 100
			items, whole := readItems(readFile(t, "bulk/"+test.file+".json"), first, test.n, o)
			if whole != nil {
				t.Fatal(whole)
			}
			if len(items) != len(test.want) {
				t.Fatalf("%d records were not taken, want %d: %+v", len(items), len(test.want), items)
			}
			for i, want := range test.want {
				got := items[i]
				if got.Index != first+want.index || got.Verdict != want.verdict || got.Status != want.status || !strings.Contains(got.Message(), want.words) {
					t.Errorf("got %+v, want %+v", got, want)
				}
				if strings.Contains(got.Message(), canary) {
					t.Errorf("the reason quotes the record: %s", got.Reason)
				}
			}
			if _, whole := readItems(readFile(t, "bulk/"+test.file+".json"), first, test.n+1, o); whole == nil {
				t.Error("an answer that tells of one record too few is taken for an answer")
			}
		})
	}
	if data, _ := os.ReadDir("testdata/bulk"); len(data) != len(tests) {
		t.Errorf("testdata/bulk has %d answers, and %d are tested", len(data), len(tests))
	}
}

// busyItems are the indexes of the records that a busy node took no part of.
func busyItems(t *testing.T) (indexes []int) {
	var a struct {
		Items []map[string]struct{ Status int }
	}
	if err := json.Unmarshal(readFile(t, "bulk/busy.json"), &a); err != nil {
		t.Fatal(err)
	}
	for i, item := range a.Items {
		if item["create"].Status == 429 {
			indexes = append(indexes, i)
		}
	}
	if len(indexes) == 0 || len(indexes) == len(a.Items) {
		t.Fatal("busy.json should have records that were taken and records that were not")
	}
	return indexes
}

// TestReadItemsRest has what was not captured from a node.
func TestReadItemsRest(t *testing.T) {
	o := Options{DataStream: "logs-ssh-golden"}
	one := func(item string) string { return `{"errors":true,"items":[{"create":` + item + `}]}` }
	for _, test := range []struct {
		name, answer string
		verdict      sinks.Verdict
		words        string
	}{
		{"default pipeline missing", one(`{"status":400,"error":{"type":"illegal_argument_exception","reason":"pipeline with id [x] does not exist"}}`), sinks.Misconfigured, "has by default does not exist"},
		{"a record that quotes the missing pipeline's words", one(`{"status":400,"error":{"type":"document_parsing_exception","reason":"pipeline with id [x] does not exist"}}`), sinks.Rejected, "does not fit"},
		{"another illegal argument", one(`{"status":400,"error":{"type":"illegal_argument_exception","reason":"field [x] CANARY"}}`), sinks.Rejected, "its pipeline refused it"},
		{"shards not there", one(`{"status":503,"error":{"type":"unavailable_shards_exception"}}`), sinks.Retry, "503 (unavailable_shards_exception)"},
		{"another conflict", one(`{"status":409,"error":{"type":"something_else"}}`), sinks.Retry, "409 (something_else)"},
		{"an invalid name", one(`{"status":400,"error":{"type":"invalid_index_name_exception"}}`), sinks.Misconfigured, "correct data_stream"},
		{"a type that quotes", one(`{"status":400,"error":{"type":"CANARY of the session"}}`), sinks.Rejected, "400 (no reason)"},
		{"a long type", one(`{"status":400,"error":{"type":"` + strings.Repeat("a", 81) + `"}}`), sinks.Rejected, "400 (no reason)"},
		{"forbidden by something else", one(`{"status":403}`), sinks.Misconfigured, "create_doc"},
		{"not a create", `{"errors":false,"items":[{"index":{"status":201}}]}`, sinks.Retry, "answered 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, whole := readItems([]byte(test.answer), 0, 1, o)
			if whole != nil || len(items) != 1 {
				t.Fatalf("got %+v, %v", items, whole)
			}
			if got := items[0]; got.Verdict != test.verdict || !strings.Contains(got.Message(), test.words) || strings.Contains(got.Message(), canary) {
				t.Errorf("got %+v, want %v and the words %q", got, test.verdict, test.words)
			}
		})
	}
	for _, answer := range []string{
		``, `<html>CANARY</html>`, `{}`, `[]`, `null`, `{"errors":false,"items":[]}`, `{"errors":false,"items":[{"create":{"status":201}}`,
		`{"errors":true,"items":[{"create":{"status":201}}]}`, `{"errors":false,"items":[{"create":{"status":"CANARY"}}]}`,
	} {
		items, whole := readItems([]byte(answer), 0, 1, o)
		if whole == nil || whole.Verdict != sinks.Retry || len(items) != 0 || strings.Contains(whole.Error(), canary) {
			t.Errorf("answer %q gives %+v, %v: want an error to retry that does not quote it", answer, items, whole)
		}
	}
}

func TestRefusal(t *testing.T) {
	key := Options{DataStream: "logs-ssh-golden", APIKey: "a2V5"}
	basic := Options{DataStream: "logs-ssh-golden", Username: "u", Password: "p"}
	open := Options{DataStream: "logs-ssh-golden"}
	for _, test := range []struct {
		name    string
		options Options
		status  int
		body    string // a file in testdata/refusal, or itself
		verdict sinks.Verdict
		words   string
	}{
		{"no credentials", open, 401, "unauthorized.json", sinks.Misconfigured, "set api_key, or username and password"},
		{"wrong key", key, 401, "unauthorized.json", sinks.Misconfigured, "set api_key to one that is valid"},
		{"wrong password", basic, 401, "unauthorized.json", sinks.Misconfigured, "correct username and password"},
		{"no privilege", key, 403, `{"error":{"type":"security_exception","reason":"CANARY"},"status":403}`, sinks.Misconfigured, "create_doc"},
		{"cluster blocked", key, 403, "cluster_block.json", sinks.Retry, "takes no writes"},
		{"busy", key, 429, "busy.json", sinks.Retry, "429 (es_rejected_execution_exception)"},
		{"not started", key, 503, `{"error":{"type":"cluster_block_exception"},"status":503}`, sinks.Retry, "busy or in trouble"},
		{"proxy", key, 502, "<html>CANARY</html>", sinks.Retry, "502 (no reason)"},
		{"malformed", key, 400, "malformed.json", sinks.Rejected, "not acceptable"},
		{"old version", key, 400, "parameter.json", sinks.Misconfigured, "8.13 or later"},
		{"too large", key, 413, "", sinks.TooLarge, "max_request_bytes"},
		{"not there", key, 404, `{"error":"no handler found for uri [/CANARY]"}`, sinks.Misconfigured, "correct urls"},
		{"wrong method", key, 405, "", sinks.Misconfigured, "correct urls"},
		{"proxy's authentication", key, 407, "", sinks.Misconfigured, "HTTP_PROXY"},
		{"slow", key, 408, "", sinks.Retry, "408"},
		{"early", key, 425, "", sinks.Retry, "425"},
		{"gone", key, 410, "", sinks.Gone, "gone"},
		{"moved", key, 301, "", sinks.Misconfigured, "another address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &Sink{options: test.options}
			body := []byte(test.body)
			if strings.HasSuffix(test.body, ".json") {
				body = readFile(t, "refusal/"+test.body)
			}
			e := s.refusal(answer{status: test.status, header: http.Header{"Retry-After": {"7"}}, body: body})
			if e.Verdict != test.verdict || e.Status != test.status || e.RetryAfter != 7*time.Second || len(e.Items) != 0 || !strings.Contains(e.Message(), test.words) {
				t.Errorf("got %+v, want %v and the words %q", e, test.verdict, test.words)
			}
			if strings.Contains(e.Error(), canary) {
				t.Errorf("the error quotes the answer: %v", e)
			}
		})
	}
}

// TestRetryAfter holds that a whole refusal passes on how long the drain asked to be left alone,
// within the bound of all sinks.
func TestRetryAfter(t *testing.T) {
	s := &Sink{options: Options{DataStream: "logs-ssh-golden"}}
	for value, want := range map[string]time.Duration{"": 0, "120": 2 * time.Minute, "99999999999999": sinks.MaxRetryAfter, "Sat, 14 Mar 2026 15:00:30 GMT": 30 * time.Second} {
		header := http.Header{"Retry-After": {value}, "Date": {"Sat, 14 Mar 2026 15:00:00 GMT"}}
		if got := s.refusal(answer{status: http.StatusServiceUnavailable, header: header}).RetryAfter; got != want {
			t.Errorf("Retry-After %q is %s, want %s", value, got, want)
		}
	}
}

func FuzzReadItems(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range []int{1, 3, 12} {
			f.Add(data, n)
		}
	}
	o := Options{DataStream: "logs-ssh-golden", Pipeline: "clean"}
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n < 1 || n > 100 {
			return
		}
		const first = 7
		items, whole := readItems(data, first, n, o)
		if whole != nil {
			if len(items) > 0 || whole.Reason == "" || len(whole.Items) > 0 {
				t.Fatalf("items %+v and error %v", items, whole)
			}
			return
		}
		last := first - 1
		for _, item := range items {
			if item.Index <= last || item.Index >= first+n || item.Reason == "" || len(item.Reason) > 1000 {
				t.Fatalf("bad item %+v after %d", item, last)
			}
			last = item.Index
		}
		readFailure(data)
	})
}

func TestAdvice(t *testing.T) {
	kinds := []string{"", "cluster_block_exception", "es_rejected_execution_exception", "security_exception", "index_closed_exception",
		"invalid_index_name_exception", "validation_exception", "illegal_argument_exception", "document_parsing_exception"}
	options := []Options{{DataStream: "logs"}, {DataStream: "logs", Pipeline: "p", APIKey: "k"}, {DataStream: "logs", Username: "u"}}
	for status := 300; status < 600; status++ {
		for _, kind := range kinds {
			for _, o := range options {
				for _, why := range []string{"", "pipeline with id [p] does not exist", "unrecognized parameter"} {
					body := fmt.Appendf(nil, `{"error":{"type":%q,"reason":%q}}`, kind, why)
					sinktest.CheckAdvice(t, (&Sink{options: o}).refusal(answer{status: status, header: http.Header{}, body: body}))
					if _, reason, advice := judge(&itemAnswer{Status: status, Error: errorAnswer{kind, why}}, o); reason != "" {
						sinktest.CheckAdvice(t, &sinks.Error{Reason: reason, Advice: advice})
					}
				}
			}
		}
	}
	sinktest.CheckAdvice(t, notUnderstood("it is not JSON"))
	_, reason, advice := judge(&itemAnswer{Status: 201, FailureStore: "used"}, options[0])
	sinktest.CheckAdvice(t, &sinks.Error{Reason: reason, Advice: advice})
}
