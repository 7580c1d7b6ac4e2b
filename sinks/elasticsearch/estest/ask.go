package estest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// requestTimeout bounds every request of a test to the node.
const requestTimeout = time.Minute

// Do sends a request as the superuser and returns the response's body. path begins with "/"; body
// is encoded as JSON, nil for none. A response that is not of the 2xx kind ends the test.
func (n *Node) Do(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	status, answer := n.Try(t, method, path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: Elasticsearch answered %d: %s", method, path, status, answer)
	}
	return answer
}

// Try is as Do, for responses of any kind.
func (n *Node) Try(t testing.TB, method, path string, body any) (status int, answer []byte) {
	t.Helper()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	a, err := n.request(ctx, method, path, data)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a.status, a.body
}

type answer struct {
	status int
	body   []byte
}

func (n *Node) request(ctx context.Context, method, path string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, n.URL+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if n.Username != "" {
		r.SetBasicAuth(n.Username, n.Password)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, data}, err
}

// DataStream is a name for a data stream of this test alone. Where the node is not a throw-away
// one, the data stream, and ttydrain's template for it, are deleted when the test ends.
func (n *Node) DataStream(t testing.TB) string {
	t.Helper()
	name := "logs-ttydrain-" + strings.ToLower(rand.Text()[:12])
	if n.folder == "" {
		t.Cleanup(func() {
			n.Try(t, http.MethodDelete, "/_data_stream/"+name, nil)
			n.Try(t, http.MethodDelete, "/_index_template/ttydrain-"+name, nil)
		})
	}
	return name
}

// APIKey makes an API key, in the form that goes into an Authorization header and into the
// configuration, which may do no more than a drain's credentials have to.
//
// It may create documents in that data stream (create_doc) and have the first of them create the
// data stream (auto_configure; it is of no use once the data stream is there). It may neither read
// nor see or change index templates: the test installs the template before the first document.
func (n *Node) APIKey(t testing.TB, dataStream string) string {
	t.Helper()
	return n.APIKeyWith(t, map[string]any{
		"index": []any{map[string]any{"names": []string{dataStream}, "privileges": []string{"create_doc", "auto_configure"}}},
	})
}

// ManagerAPIKey is an API key as of [Node.APIKey] that may also manage index templates, so that a
// sink can install the one that it needs.
func (n *Node) ManagerAPIKey(t testing.TB, dataStream string) string {
	t.Helper()
	return n.APIKeyWith(t, map[string]any{
		"cluster": []string{"manage_index_templates"},
		"index":   []any{map[string]any{"names": []string{dataStream}, "privileges": []string{"create_doc", "auto_configure"}}},
	})
}

// APIKeyWith makes an API key with the privileges of a role descriptor.
func (n *Node) APIKeyWith(t testing.TB, role map[string]any) string {
	t.Helper()
	if !n.options.Security {
		t.Fatal("an API key needs a node with Options.Security")
	}
	var key struct{ Encoded string }
	decode(t, n.Do(t, http.MethodPost, "/_security/api_key", map[string]any{
		"name":             t.Name(),
		"role_descriptors": map[string]any{"test": role},
	}), &key)
	if key.Encoded == "" {
		t.Fatal("Elasticsearch made no API key")
	}
	return key.Encoded
}

// Search makes all that was written findable and returns the documents (_source) of an index or
// data stream that match a query of the query language, for instance {"term": {"app": "web"}}; nil
// for all. They are in the order of operation and sequence. One that does not exist has no
// documents.
func (n *Node) Search(t testing.TB, index string, query any) []json.RawMessage {
	t.Helper()
	path := "/" + url.PathEscape(index)
	if status, answer := n.Try(t, http.MethodPost, path+"/_refresh", nil); status == http.StatusNotFound {
		return nil
	} else if status != http.StatusOK {
		t.Fatalf("refresh %s: Elasticsearch answered %d: %s", index, status, answer)
	}
	if query == nil {
		query = map[string]any{"match_all": map[string]any{}}
	}
	// Pages of one point in time: between two pages of what goes on changing, a document can come
	// to be in both.
	const keepAlive = "10m" // a page can take long on a machine that is busy
	var opened struct {
		ID    string
		PitID string `json:"pit_id"`
	}
	if n.options.OpenSearch {
		decode(t, n.Do(t, http.MethodPost, path+"/_search/point_in_time?keep_alive="+keepAlive, nil), &opened)
		opened.ID = opened.PitID
		defer n.Do(t, http.MethodDelete, "/_search/point_in_time", map[string]any{"pit_id": []string{opened.ID}})
	} else {
		decode(t, n.Do(t, http.MethodPost, path+"/_pit?keep_alive="+keepAlive, nil), &opened)
		defer n.Do(t, http.MethodDelete, "/_pit", map[string]any{"id": opened.ID})
	}
	const page = 10000
	body := map[string]any{
		"size":  page,
		"query": query,
		"pit":   map[string]any{"id": opened.ID, "keep_alive": keepAlive},
		"sort": []any{
			map[string]any{"operation_id": map[string]any{"order": "asc", "unmapped_type": "keyword"}},
			map[string]any{"sequence": map[string]any{"order": "asc", "unmapped_type": "long"}},
		}, // and by the document, which Elasticsearch does by itself with a point in time
	}
	if n.options.OpenSearch {
		body["sort"] = append(body["sort"].([]any), map[string]any{"_id": "asc"})
	}
	var found []json.RawMessage
	for {
		var got struct {
			Hits struct {
				Hits []struct {
					Source json.RawMessage   `json:"_source"`
					Sort   []json.RawMessage `json:"sort"`
				}
			}
			Shards struct{ Failed int } `json:"_shards"`
		}
		decode(t, n.Do(t, http.MethodPost, "/_search", body), &got)
		if got.Shards.Failed > 0 {
			t.Fatalf("search %s: %d shards failed", index, got.Shards.Failed)
		}
		for _, hit := range got.Hits.Hits {
			found = append(found, hit.Source)
			body["search_after"] = hit.Sort
		}
		if len(got.Hits.Hits) < page {
			return found
		}
	}
}

// Count returns the number of documents of an index that a search finds. An index that does not
// exist has none.
func (n *Node) Count(t testing.TB, index string) int {
	t.Helper()
	var got struct{ Count int }
	status, answer := n.Try(t, http.MethodPost, "/"+url.PathEscape(index)+"/_count", nil)
	if status == http.StatusNotFound {
		return 0
	}
	if status != http.StatusOK {
		t.Fatalf("count the documents of %s: Elasticsearch answered %d: %s", index, status, answer)
	}
	decode(t, answer, &got)
	return got.Count
}

func decode(t testing.TB, data []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(fmt.Errorf("read Elasticsearch's answer: %w", err))
	}
}
