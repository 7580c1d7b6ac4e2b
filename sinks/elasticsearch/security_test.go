package elasticsearch

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

func writePEM(t *testing.T, name string, certificate []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLeastPrivilege(t *testing.T) {
	node := nodes.Node(t, estest.Options{Security: true})
	dataStream, other := node.DataStream(t), node.DataStream(t)
	install(t, node, dataStream)
	install(t, node, other)
	key := node.APIKey(t, dataStream)

	var log strings.Builder
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key, ManageTemplate: true, Log: logTo(&log)})
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	batch := entries(50)
	mustWrite(t, s, batch[:20])
	mustWrite(t, s, batch[20:])
	mustWrite(t, s, batch) // a repeat needs no other privilege
	if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
		t.Errorf("the data stream holds %d records, want %d", got, len(batch))
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "manage_index_templates") {
		t.Errorf("%d warnings, want one that names manage_index_templates:\n%s", n, &log)
	}

	// The key may not see pipelines: Probe cannot tell, and says nothing.
	s = newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key, Pipeline: "absent"})
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe with a pipeline: %v", err)
	}

	s = newSink(t, Options{URLs: []string{node.URL}, DataStream: other, APIKey: key})
	wantFailure(t, write(t, s, batch), sinks.Misconfigured, 403, "create_doc and, until it exists, auto_configure on the data stream "+other)
	wantFailure(t, s.Probe(t.Context()), sinks.Misconfigured, 403, "create_doc and, until it exists, auto_configure on the data stream "+other)
	if got := len(node.Search(t, other, nil)); got != 0 {
		t.Errorf("the other data stream holds %d records", got)
	}
}

// TestPrivileges holds what the documentation says about privileges: each is needed.
func TestPrivileges(t *testing.T) {
	node := nodes.Node(t, estest.Options{Security: true})
	dataStream := node.DataStream(t)
	batch := entries(5)
	sink := func(key string, manage bool) *Sink {
		return newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key, ManageTemplate: manage})
	}
	create := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{dataStream}, "privileges": []string{"create_doc"}}}})
	// The data stream is not there yet.
	wantFailure(t, write(t, sink(create, false), batch), sinks.Misconfigured, 403, "auto_configure")

	mustWrite(t, sink(node.ManagerAPIKey(t, dataStream), true), batch[:2])
	name, _ := IndexTemplate(dataStream)
	node.Do(t, http.MethodGet, "/_index_template/"+name, nil)

	// From when the data stream is there on, create_doc is enough.
	mustWrite(t, sink(create, false), batch)
	read := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{dataStream}, "privileges": []string{"read", "auto_configure"}}}})
	wantFailure(t, write(t, sink(read, false), batch), sinks.Misconfigured, 403, "create_doc")
	wantFailure(t, sink(read, false).Probe(t.Context()), sinks.Misconfigured, 403, "create_doc")
}

func TestCredentials(t *testing.T) {
	node := nodes.Node(t, estest.Options{Security: true})
	dataStream := node.DataStream(t)
	batch := entries(5)
	const secret = "SECRET-password"
	for _, test := range []struct {
		name    string
		options Options
		words   string
	}{
		{"none", Options{}, "it asks for credentials: set api_key, or username and password"},
		{"wrong key", Options{APIKey: base64.StdEncoding.EncodeToString([]byte("nobody:" + secret))}, "set api_key to one that is valid"},
		{"not a key", Options{APIKey: secret}, "set api_key to one that is valid"},
		{"wrong password", Options{Username: node.Username, Password: secret}, "correct username and password"},
	} {
		for _, manage := range []bool{false, true} {
			o := test.options
			o.URLs, o.DataStream, o.ManageTemplate = []string{node.URL}, dataStream, manage
			s := newSink(t, o)
			for _, err := range []error{write(t, s, batch), s.Probe(t.Context())} {
				wantFailure(t, err, sinks.Misconfigured, 401, test.words)
				if strings.Contains(err.Error(), secret) || o.APIKey != "" && strings.Contains(err.Error(), o.APIKey) {
					t.Errorf("%s: the error has the secret: %v", test.name, err)
				}
			}
		}
	}
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, Username: node.Username, Password: node.Password, ManageTemplate: true})
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	mustWrite(t, s, batch)
	if got := len(node.Search(t, dataStream, nil)); got != len(batch) {
		t.Errorf("the data stream holds %d records, want %d", got, len(batch))
	}
}

// TestAPIKeyForms writes with both forms in which Elasticsearch and Kibana show an API key.
func TestAPIKeyForms(t *testing.T) {
	node := nodes.Node(t, estest.Options{Security: true})
	dataStream := node.DataStream(t)
	install(t, node, dataStream)
	encoded := node.APIKey(t, dataStream)
	pair, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{encoded, string(pair)} {
		s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key})
		if err := s.Probe(t.Context()); err != nil {
			t.Errorf("Probe: %v", err)
		}
		mustWrite(t, s, entries(3))
		if got := len(node.Search(t, dataStream, nil)); got != 3*(i+1) {
			t.Errorf("the data stream holds %d records, want %d", got, 3*(i+1))
		}
	}
}

func TestTemplateIsKept(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	var own struct{ Version int }
	if _, body := IndexTemplate("logs-ssh-default"); json.Unmarshal(body, &own) != nil || own.Version < 1 {
		t.Fatalf("version %d", own.Version)
	}
	for _, test := range []struct {
		name      string
		version   any
		managedBy any
		replaced  bool
	}{
		{"older of ours", 0, "ttydrain", true},
		{"of ours without a version", nil, "ttydrain", true},
		{"same version, changed", own.Version, "ttydrain", false},
		{"newer of ours", own.Version + 1, "ttydrain", false},
		{"somebody's own", 0, "ops", false},
		{"without any mark", nil, nil, false},
		{"with a strange mark", 0, []string{"ttydrain"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dataStream := node.DataStream(t)
			name, _ := IndexTemplate(dataStream)
			template := map[string]any{"index_patterns": []string{dataStream}, "priority": 500, "data_stream": map[string]any{}}
			if test.version != nil {
				template["version"] = test.version
			}
			if test.managedBy != nil {
				template["_meta"] = map[string]any{"managed_by": test.managedBy}
			}
			node.Do(t, http.MethodPut, "/_index_template/"+name, template)
			var log strings.Builder
			s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true, Log: logTo(&log)})
			mustWrite(t, s, entries(3))
			var installed struct {
				Templates []struct {
					Template struct {
						Version  int
						Template struct {
							Mappings struct{ Properties map[string]any }
						}
					} `json:"index_template"`
				} `json:"index_templates"`
			}
			if err := json.Unmarshal(node.Do(t, http.MethodGet, "/_index_template/"+name, nil), &installed); err != nil {
				t.Fatal(err)
			}
			if got := len(installed.Templates[0].Template.Template.Mappings.Properties) > 0; got != test.replaced {
				t.Errorf("replaced is %v, want %v", got, test.replaced)
			}
			if strings.Contains(log.String(), "level=WARN") {
				t.Errorf("there is nothing to warn of:\n%s", &log)
			}
		})
	}
}

// TestTemplateConflict has a template of another name for the same data stream and with the same
// priority.
func TestTemplateConflict(t *testing.T) {
	node := nodes.Node(t, estest.Options{})
	dataStream := node.DataStream(t)
	node.Do(t, http.MethodPut, "/_index_template/"+dataStream, map[string]any{"index_patterns": []string{dataStream + "*"}, "priority": 500, "data_stream": map[string]any{}})
	t.Cleanup(func() { node.Try(t, http.MethodDelete, "/_index_template/"+dataStream, nil) })
	var log strings.Builder
	s := newSink(t, Options{URLs: []string{node.URL}, DataStream: dataStream, ManageTemplate: true, Log: logTo(&log)})
	mustWrite(t, s, entries(3))
	mustWrite(t, s, entries(3))
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "priority 500") {
		t.Errorf("%d warnings, want one about the priority:\n%s", n, &log)
	}
}
