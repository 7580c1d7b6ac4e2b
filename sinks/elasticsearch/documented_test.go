package elasticsearch

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// TestDocumentedKeys runs the commands of the page on Elasticsearch that create API keys. With the
// first, a drain installs its template and writes, and may not read; with the second, a reader
// searches and may not write.
func TestDocumentedKeys(t *testing.T) {
	node := nodes.Node(t, estest.Options{Security: true})
	text, err := os.ReadFile("../../cmd/ttydrain/docs/elasticsearch.md")
	if err != nil {
		t.Fatal(err)
	}
	dataStream := node.DataStream(t)
	var keys []string
	for _, block := range regexp.MustCompile("(?ms)^```sh elasticsearch\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		c := exec.Command("bash", "-euo", "pipefail", "-c",
			strings.NewReplacer("logs-ssh-default", dataStream, "elastic:", node.Username+":").Replace(block[1]))
		c.Env = append(os.Environ(), "ELASTICSEARCH="+node.URL, "ELASTIC_PASSWORD="+node.Password)
		answer, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", block[1], err)
		}
		var key struct{ Encoded string }
		if err := json.Unmarshal(answer, &key); err != nil || key.Encoded == "" {
			t.Fatalf("there is no API key in %s: %v", answer, err)
		}
		keys = append(keys, key.Encoded)
	}
	if len(keys) != 2 {
		t.Fatalf("found %d commands, want 2: the test looks in the wrong place", len(keys))
	}
	read := func(key string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node.URL+"/"+dataStream+"/_search", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "ApiKey "+key)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	sink := func(key string) *Sink {
		return newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key, ManageTemplate: true})
	}
	batch := entries(5)
	mustWrite(t, sink(keys[0]), batch)
	name, _ := IndexTemplate(dataStream)
	node.Do(t, http.MethodGet, "/_index_template/"+name, nil)
	if status := read(keys[0]); status != http.StatusForbidden {
		t.Errorf("reading with the drain's key: %d, want 403", status)
	}
	if status := read(keys[1]); status != http.StatusOK {
		t.Errorf("reading with the readers' key: %d, want 200", status)
	}
	wantFailure(t, write(t, sink(keys[1]), batch), sinks.Misconfigured, 403, "create_doc")
}
