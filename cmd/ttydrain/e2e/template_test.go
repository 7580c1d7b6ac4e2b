package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTemplateCommand prints the index template of each product.
func TestTemplateCommand(t *testing.T) {
	for product, wants := range map[string]bool{"elasticsearch": true, "opensearch": false} {
		got := ttydrain(t, "schema", "elasticsearch", "--product", product, "--data-stream", "logs-x")
		var template map[string]any
		if err := json.Unmarshal([]byte(got.stdout), &template); err != nil || got.status != 0 {
			t.Fatalf("%s: %v, %+v", product, err, got)
		}
		if _, has := template["ignore_missing_component_templates"]; has != wants || template["priority"] == nil {
			t.Errorf("%s: %v", product, template)
		}
	}
	if got := ttydrain(t, "schema", "elasticsearch", "--product", "solr"); got.status == 0 || !strings.Contains(got.stderr, "expected elasticsearch or opensearch") {
		t.Errorf("%+v", got)
	}
}
