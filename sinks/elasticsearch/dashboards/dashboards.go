// Package dashboards has dashboards over the records in Elasticsearch: one for Kibana 8.11 or
// later, and one for Grafana 10 or later with its Elasticsearch data source.
//
// Both show the same: sessions over time, by person, app and stack; the commands that were asked
// for; failed exits; expiries and kills; the bytes shown; gaps; and the lines themselves, to be
// searched. They count the records that begin and end sessions, so a record that is in the data
// stream twice (see package elasticsearch) counts twice. Records of drain tests are left out. All
// their queries are in the language of Lucene, and ask for fields as ttydrain's index template maps
// them; nothing in them is computed by scripts.
//
// kibana.json is meant to be read, and changed by hand: where Kibana has JSON in strings it has
// plain JSON, of which [Kibana] makes the strings.
package dashboards

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed kibana.json
var kibana []byte

//go:embed grafana.json
var grafana []byte

// The type and the attribute of Kibana's object that names the data streams.
const (
	dataView        = "index-pattern"
	dataViewPattern = "title"
)

// Kibana returns the dashboard as saved objects in NDJSON, for Kibana's import, with its data view
// and saved searches. The data view is for the data streams of a pattern, such as "logs-ssh-*".
func Kibana(pattern string) ([]byte, error) {
	var objects []map[string]any
	if err := json.Unmarshal(kibana, &objects); err != nil {
		return nil, fmt.Errorf("read the dashboard for Kibana: %w", err)
	}
	var out bytes.Buffer
	for _, object := range objects {
		attributes, ok := object["attributes"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("read the dashboard for Kibana: the object %v has no attributes", object["id"])
		}
		if object["type"] == dataView {
			attributes[dataViewPattern] = pattern
		}
		if err := stringify(attributes); err != nil {
			return nil, fmt.Errorf("write the dashboard for Kibana: %w", err)
		}
		line, err := marshal(object)
		if err != nil {
			return nil, fmt.Errorf("write the dashboard for Kibana: %w", err)
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// stringify turns the attributes whose names end in JSON, at any depth, into strings, as Kibana has
// them. The inner ones come first, since a string in a string is escaped twice.
func stringify(attributes map[string]any) error {
	for name, value := range attributes {
		below, ok := value.(map[string]any)
		if ok {
			if err := stringify(below); err != nil {
				return err
			}
		}
		if _, done := value.(string); done || !strings.HasSuffix(name, "JSON") {
			continue
		}
		text, err := marshal(value)
		if err != nil {
			return err
		}
		attributes[name] = string(text)
	}
	return nil
}

// marshal is as json.Marshal, with < and > in queries as they are.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// Grafana returns the dashboard as JSON, for Grafana's import or provisioning. Its user selects an
// Elasticsearch data source, which names the data streams.
func Grafana() []byte { return bytes.Clone(grafana) }
