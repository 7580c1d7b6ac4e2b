package elasticsearch

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

//go:embed template.json
var templateJSON string

// managedBy marks the templates that are ttydrain's to replace, in _meta.managed_by.
const managedBy = "ttydrain"

// IndexTemplate is the index template for a data stream: its name, and the body for
// PUT /_index_template/NAME, for an operator whose drain may not install it by itself.
func IndexTemplate(dataStream string) (name string, body []byte) {
	body, _ = schema.AppendString([]byte(`{"index_patterns":[`), []byte(dataStream))
	body = append(body, "],"...)
	return "ttydrain-" + dataStream, append(body, strings.TrimPrefix(templateJSON, "{")...)
}

// templateHead is what tells which template is installed.
type templateHead struct {
	Version int64 `json:"version"`
	Meta    struct {
		ManagedBy any `json:"managed_by"`
	} `json:"_meta"`
}

// installTemplate makes sure that the index template is there, once for each sink. It fails only where
// writing would fail too.
func (s *Sink) installTemplate(ctx context.Context) *sinks.Error {
	if !s.options.ManageTemplate {
		return nil
	}
	s.templateMu.Lock() // whoever comes second waits for it
	defer s.templateMu.Unlock()
	if s.templateDone {
		return nil
	}
	name, template := IndexTemplate(s.options.DataStream)
	path := "/_index_template/" + url.PathEscape(name)
	var buffer bytes.Buffer

	r := request{doing: "look for the index template " + name, method: http.MethodGet,
		path: path + "?filter_path=index_templates.index_template.version,index_templates.index_template._meta,error.type,error.reason"}
	got, _, err := s.do(ctx, r, &buffer)
	switch {
	case err != nil:
		return err
	case got.status == http.StatusOK:
		if keep, err := keepTemplate(got.body, template); err != nil {
			return err
		} else if keep {
			s.templateDone = true
			return nil
		}
	case got.status != http.StatusNotFound:
		return s.withoutTemplate(name, got)
	}

	r = request{doing: "install the index template " + name, method: http.MethodPut,
		path: path + "?filter_path=acknowledged,error.type,error.reason", contentType: "application/json", body: template}
	got, _, err = s.do(ctx, r, &buffer)
	switch {
	case err != nil:
		return err
	case got.status != http.StatusOK:
		return s.withoutTemplate(name, got)
	}
	s.templateDone = true
	s.options.Log.Info("installed the index template", "template", name, "data_stream", s.options.DataStream)
	return nil
}

// keepTemplate says whether the installed template is to be left as it is.
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
	// A template without version and _meta leaves nothing behind filter_path.
	return len(installed.Templates) == 0, nil
}

// withoutTemplate goes on without the template where only that was refused. Its caller holds templateMu.
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
	s.templateDone = true
	s.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "the index template was not installed; records are written all the same, with the types that the data stream has",
		slog.String("template", name), slog.String("data_stream", s.options.DataStream), slog.Int("status", a.status),
		slog.String("error", kindOf(readFailure(a.body).Type)), slog.String("do", do))
	return nil
}
