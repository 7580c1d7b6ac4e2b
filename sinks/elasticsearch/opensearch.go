package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/sinks"
)

// customTemplate is the component template with an operator's own settings. IndexTemplate includes
// it if it exists.
const customTemplate = "ttydrain@custom"

// ensureCustom reports whether OpenSearch has the component template for an operator's own
// settings. It creates an empty one if there is none, since index templates of OpenSearch cannot
// include one that may be missing.
func (s *Sink) ensureCustom(ctx context.Context) bool {
	var buffer bytes.Buffer
	name, create := url.PathEscape(customTemplate), true
	doing := "look for the component template " + customTemplate
	got, _, err := s.do(ctx, request{doing: doing,
		api: esapi.ClusterGetComponentTemplateRequest{Name: []string{name}, FilterPath: []string{"component_templates.name"}}}, &buffer)
	if err == nil && got.status == http.StatusNotFound {
		got, _, err = s.do(ctx, request{doing: doing, api: esapi.ClusterPutComponentTemplateRequest{Name: name, Create: &create},
			contentType: "application/json", body: []byte(`{"template":{}}`)}, &buffer)
	}
	// A failure repeats, with a reason, when the index template is installed.
	return err == nil && got.status == http.StatusOK
}

// ensureDataStream makes sure that OpenSearch has the data stream. Without an index template, a
// bulk request would create an ordinary index with dynamic types, and OpenSearch has no parameter
// that forbids it.
func (s *Sink) ensureDataStream(ctx context.Context) *sinks.Error {
	name := s.options.DataStream
	var buffer bytes.Buffer
	escaped := url.PathEscape(name)
	got, _, err := s.do(ctx, request{doing: "look for the data stream " + name, api: esapi.IndicesGetDataStreamRequest{Name: []string{escaped}}}, &buffer)
	if err != nil {
		return err
	}
	var found struct {
		Streams []json.RawMessage `json:"data_streams"`
	}
	switch {
	case got.status == http.StatusForbidden:
		return s.withoutLooking(got)
	case got.status == http.StatusOK && json.Unmarshal(got.body, &found) == nil && len(found.Streams) > 0:
		return nil
	case got.status == http.StatusOK: // an ordinary index
		return s.noDataStream(got)
	case got.status != http.StatusNotFound:
		return s.refusal(got)
	}
	got, _, err = s.do(ctx, request{doing: "create the data stream " + name, api: esapi.IndicesCreateDataStreamRequest{Name: escaped}}, &buffer)
	switch {
	case err != nil:
		return err
	case got.status == http.StatusOK, readFailure(got.body).Type == "resource_already_exists_exception":
		return nil
	case got.status == http.StatusForbidden:
		return s.withoutLooking(got)
	case got.status == http.StatusBadRequest:
		return s.noDataStream(got)
	}
	return s.refusal(got)
}

func (s *Sink) noDataStream(a answer) *sinks.Error {
	verdict, reason, advice := judge(&itemAnswer{Status: http.StatusNotFound, Error: readFailure(a.body)}, s.known())
	return &sinks.Error{Verdict: verdict, Status: http.StatusNotFound, Reason: reason, Advice: advice}
}

// withoutLooking logs that the credentials may not see data streams, and goes on: they may be able
// to write nevertheless.
func (s *Sink) withoutLooking(a answer) *sinks.Error {
	s.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "cannot look up the data stream; records are written nevertheless",
		slog.String("data_stream", s.options.DataStream), slog.Int("status", a.status),
		slog.String("do", "give the user's role the index permissions indices:admin/data_stream/get and indices:admin/data_stream/create on it"))
	return nil
}
