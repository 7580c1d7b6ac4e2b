package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/ttydrain/ttydrain/sinks"
)

// Probe implements [sinks.Sink]. With security it finds out whether the credentials are accepted and
// may create documents in the data stream, without it whether Elasticsearch is there. Whether the
// pipeline exists it finds out where the credentials may read pipelines. It asks one of the URLs.
func (s *Sink) Probe(ctx context.Context) error {
	var buffer bytes.Buffer
	doing := "reach Elasticsearch"
	got, _, err := s.do(ctx, request{doing: doing, method: http.MethodGet, path: "/_security/_authenticate?filter_path=username,error.type"}, &buffer)
	if err != nil {
		return err
	}
	switch got.status {
	case http.StatusOK:
		if err := s.probePrivileges(ctx, &buffer); err != nil {
			return err
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		// Without security there is no such path.
		got, _, err := s.do(ctx, request{doing: doing, method: http.MethodGet, path: "/"}, &buffer)
		if err != nil {
			return err
		}
		if got.status != http.StatusOK {
			return s.refusal(got)
		}
	default:
		return s.refusal(got)
	}
	if s.options.Pipeline == "" {
		return nil
	}
	return s.probePipeline(ctx, &buffer)
}

// probePrivileges asks for what every write needs. Whether auto_configure is needed as well depends on
// whether the data stream exists, which these credentials need not be able to see.
func (s *Sink) probePrivileges(ctx context.Context, buffer *bytes.Buffer) error {
	body, err := json.Marshal(map[string]any{
		"index": []any{map[string]any{"names": []string{s.options.DataStream}, "privileges": []string{"create_doc"}}},
	})
	if err != nil {
		return err
	}
	got, _, failed := s.do(ctx, request{doing: "ask for the privileges", method: http.MethodPost,
		path: "/_security/user/_has_privileges?filter_path=has_all_requested,error.type", contentType: "application/json", body: body}, buffer)
	if failed != nil {
		return failed
	}
	if got.status != http.StatusOK {
		return s.refusal(got)
	}
	var privilege struct {
		All bool `json:"has_all_requested"`
	}
	if json.Unmarshal(got.body, &privilege) != nil {
		return notUnderstood("it is not JSON of the expected form")
	}
	if !privilege.All {
		return &sinks.Error{Verdict: sinks.Misconfigured, Status: http.StatusForbidden, Reason: privileges(s.options)}
	}
	return nil
}

func (s *Sink) probePipeline(ctx context.Context, buffer *bytes.Buffer) error {
	got, _, err := s.do(ctx, request{doing: "look for the ingest pipeline", method: http.MethodGet,
		path: "/_ingest/pipeline/" + url.PathEscape(s.options.Pipeline) + "?filter_path=*.version,error.type"}, buffer)
	if err != nil {
		return err
	}
	if got.status == http.StatusNotFound {
		return &sinks.Error{Verdict: sinks.Misconfigured, Status: got.status, Reason: missingPipeline(s.options)}
	}
	return nil // any other answer says nothing about it
}
