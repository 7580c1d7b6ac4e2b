package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// TestOpenSearch records a session of more than a page into OpenSearch, with the settings for
// Elasticsearch, and audits, replays and exports it from there.
func TestOpenSearch(t *testing.T) {
	t.Parallel()
	node := nodes.Node(t, estest.Options{OpenSearch: true})
	stream := node.DataStream(t)
	v := newSite(t, withDrains(fmt.Sprintf(`{name: search, type: elasticsearch, urls: [%s], data_stream: %s}`, node.URL, stream))).serve()
	tested := runTo(t, exec.Command(v.site.program, "drains", "test", "search", "-c", v.site.config, "--admin", v.admin))
	if tested.status != 0 || !strings.Contains(tested.stdout, "OpenSearch asks for no credentials") {
		t.Errorf("drains test: %+v", tested)
	}
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "seq 1 1200"))
	operation := operationOf(t, []byte(got.stderr))
	await(t, "for the session's end in OpenSearch", func() bool {
		return len(node.Search(t, stream, map[string]any{"bool": map[string]any{"filter": []any{
			map[string]any{"term": map[string]any{"operation_id": operation}}, map[string]any{"term": map[string]any{"event": "end"}},
		}}})) == 1
	})
	from := []string{"--from", node.URL + "/" + stream}
	found, status := auditOf(t, operation, nil, append(from, "--jwks", "http://"+v.admin+"/.well-known/jwks.json")...)
	if status != 0 || found.Verdict != audit.Intact {
		t.Errorf("the audit: status %d, %+v", status, found)
	}
	replayed := ttydrain(t, append([]string{"replay", operation, "--raw"}, from...)...)
	if shown := strings.ReplaceAll(replayed.stdout, "\r\n", "\n"); replayed.status != 0 || got.stdout == "" || !strings.HasSuffix(shown, got.stdout) {
		t.Errorf("the replay: status %d, %q does not end with %q: %s", replayed.status, shown, got.stdout, replayed.stderr)
	}
	exported := ttydrain(t, append([]string{"export", operation, "--output", "ndjson"}, from...)...)
	if n := bytes.Count([]byte(exported.stdout), []byte("\n")); exported.status != 0 || n < 1000 {
		t.Errorf("the export: status %d, %d records: %s", exported.status, n, exported.stderr)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
