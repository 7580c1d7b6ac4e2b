package elasticsearch

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

//go:embed template.json
var templateJSON string

// managedBy marks the templates that are ttydrain's to replace, in _meta.managed_by.
const managedBy = "ttydrain"

// IndexTemplate returns the index template for a data stream: its name, and the body for PUT
// /_index_template/NAME, for operators whose drain may not install it.
func IndexTemplate(dataStream string) (name string, body []byte) {
	body, _ = schema.AppendString([]byte(`{"index_patterns":[`), []byte(dataStream))
	body = append(body, "],"...)
	return "ttydrain-" + dataStream, append(body, strings.TrimPrefix(templateJSON, "{")...)
}

// OpenSearchTemplate is [IndexTemplate] for OpenSearch, which refuses the fields that only
// Elasticsearch has. It does not allow component templates that may be missing, so the template
// names none.
func OpenSearchTemplate(dataStream string) (name string, body []byte) {
	name, body = IndexTemplate(dataStream)
	var template map[string]json.RawMessage
	var inner struct {
		Settings struct {
			Index map[string]json.RawMessage `json:"index"`
		} `json:"settings"`
		Mappings json.RawMessage `json:"mappings"`
	}
	err := errors.Join(json.Unmarshal(body, &template), json.Unmarshal(template["template"], &inner))
	delete(template, "composed_of")
	delete(template, "ignore_missing_component_templates")
	delete(inner.Settings.Index, "mode") // and the lifecycle, which inner does not have
	template["template"] = mustMarshal(inner, err)
	return name, mustMarshal(template, nil)
}

// withField returns a JSON object with another field.
func withField(object []byte, name string, value any) []byte {
	var fields map[string]any
	err := json.Unmarshal(object, &fields)
	fields[name] = value
	return mustMarshal(fields, err)
}

// mustMarshal encodes a part of the embedded template; err is an earlier error.
func mustMarshal(value any, err error) []byte {
	body, failed := json.MarshalIndent(value, "", "  ")
	if err = errors.Join(err, failed); err != nil {
		panic(fmt.Sprintf("elasticsearch: the embedded index template: %v", err)) // tests read it
	}
	return body
}

// templateHead has the fields that identify an installed template.
type templateHead struct {
	Version int64 `json:"version"`
	Meta    struct {
		ManagedBy any `json:"managed_by"`
	} `json:"_meta"`
}

// installTemplate makes sure that the index template exists. It fails only if writing would fail
// too. s.prepareMu is held.
func (s *Sink) installTemplate(ctx context.Context, p Product) *sinks.Error {
	name, template := IndexTemplate(s.options.DataStream)
	if p == OpenSearch {
		name, template = OpenSearchTemplate(s.options.DataStream)
	}
	var buffer bytes.Buffer

	r := request{doing: "look for the index template " + name, api: esapi.IndicesGetIndexTemplateRequest{Name: url.PathEscape(name),
		FilterPath: []string{"index_templates.index_template.version", "index_templates.index_template._meta", "error.type", "error.reason"}}}
	got, _, err := s.do(ctx, r, &buffer)
	switch {
	case err != nil:
		return err
	case got.status == http.StatusOK:
		if keep, err := keepTemplate(got.body, template); err != nil {
			return err
		} else if keep {
			return nil
		}
	case got.status != http.StatusNotFound:
		return s.withoutTemplate(name, got)
	}

	if p == OpenSearch && s.ensureCustom(ctx) {
		template = withField(template, "composed_of", []string{customTemplate})
	}
	r = request{doing: "install the index template " + name, api: esapi.IndicesPutIndexTemplateRequest{Name: url.PathEscape(name),
		FilterPath: []string{"acknowledged", "error.type", "error.reason"}}, contentType: "application/json", body: template}
	got, _, err = s.do(ctx, r, &buffer)
	switch {
	case err != nil:
		return err
	case got.status != http.StatusOK:
		return s.withoutTemplate(name, got)
	}
	s.options.Log.Info("installed the index template", "template", name, "data_stream", s.options.DataStream)
	return nil
}

// keepTemplate reports whether the installed template is to be left as it is.
func keepTemplate(answer, template []byte) (bool, *sinks.Error) {
	var installed struct {
		Templates []struct {
			Template templateHead `json:"index_template"`
		} `json:"index_templates"`
	}
	var own templateHead
	if json.Unmarshal(answer, &installed) != nil || json.Unmarshal(template, &own) != nil {
		return false, notUnderstood("it is not JSON of the expected form")
	}
	for _, t := range installed.Templates {
		if t.Template.Meta.ManagedBy != managedBy || t.Template.Version >= own.Version {
			return true, nil
		}
	}
	// filter_path leaves nothing of a template without version and _meta.
	return len(installed.Templates) == 0, nil
}

// withoutTemplate logs that the template was refused, and goes on unless writing would fail too.
func (s *Sink) withoutTemplate(name string, a answer) *sinks.Error {
	e := s.refusal(a)
	var do string
	switch {
	case a.status == http.StatusForbidden && e.Verdict == sinks.Misconfigured:
		do = "give the credentials the cluster privilege manage_index_templates, or install the template by other means and set manage_template to false"
	case a.status == http.StatusBadRequest:
		do = "see whether another index template with priority 500 matches the data stream; then set manage_template to false, or change that template's priority"
	default:
		e.Reason = fmt.Sprintf("index template %s: %s", name, e.Reason)
		return e
	}
	s.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "index template not installed; records are written with the mapping of the data stream",
		slog.String("template", name), slog.String("data_stream", s.options.DataStream), slog.Int("status", a.status),
		slog.String("error", kindOf(readFailure(a.body).Type)), slog.String("do", do))
	return nil
}
