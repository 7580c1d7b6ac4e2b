package elasticsearch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

const (
	findTimeout  = 10 * time.Second
	findInterval = 200 * time.Millisecond
)

// Probe implements [sinks.Sink]. With security it checks whether the credentials are accepted and
// may create documents in the data stream, without security whether Elasticsearch answers; and
// whether the pipeline exists, if the credentials may read pipelines. It asks each of the URLs, and
// fails if none of them works. Within [sinks.Try] it also reports how the data stream maps the
// fields.
func (s *Sink) Probe(ctx context.Context) error {
	var first *sinks.Error
	good := false
	for _, m := range s.members {
		check := m.connecting(ctx)
		err := s.probeMember(check, m)
		probe.From(check).Report(err.Failure())
		if err == nil {
			if !good && probe.From(ctx).Enabled() {
				s.probeMapping(ctx, m)
			}
			good = true
		} else if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if good {
		return nil
	}
	return first
}

// connecting returns the context for requests to the member in a connectivity check.
func (m member) connecting(ctx context.Context) context.Context {
	u := m.url
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return probe.From(ctx).Connect(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)), u.Scheme == "https")
}

func (s *Sink) probeMember(ctx context.Context, m member) *sinks.Error {
	product, err := s.detect(ctx, m.client)
	if err != nil {
		return err
	}
	s.product.CompareAndSwap(nil, &product)
	var buffer bytes.Buffer
	var api esapi.Request = esapi.SecurityAuthenticateRequest{FilterPath: []string{"username", "error.type"}}
	field := "username"
	if product == OpenSearch {
		api, field = pathRequest("/_plugins/_security/authinfo"), "user_name"
	}
	got, _, err := s.ask(ctx, m.client, request{doing: "reach " + product.String(), api: api}, &buffer)
	if err != nil {
		return err
	}
	switch got.status {
	case http.StatusOK:
		var who map[string]any
		if json.Unmarshal(got.body, &who) != nil {
			return notUnderstood("it is not JSON of the expected form")
		}
		username, _ := who[field].(string)
		if product == OpenSearch {
			probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: fmt.Sprintf("OpenSearch accepts %s, as the user %s", s.credentials(), username)})
		} else if err := s.probePrivileges(ctx, m, username, &buffer); err != nil {
			return err
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		// Without security there is no such path.
		probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: product.String() + " asks for no credentials: its security is off"})
	default:
		return s.refusal(got)
	}
	if s.options.Pipeline == "" {
		return nil
	}
	return s.probePipeline(ctx, m, &buffer)
}

// probePrivileges asks for the privileges of writing: create_doc always, and auto_configure unless
// the data stream exists, which the credentials may not be able to see.
func (s *Sink) probePrivileges(ctx context.Context, m member, username string, buffer *bytes.Buffer) *sinks.Error {
	const needed, mayBeNeeded = "create_doc", "auto_configure"
	body, err := json.Marshal(map[string]any{
		"index": []any{map[string]any{"names": []string{s.options.DataStream}, "privileges": []string{needed, mayBeNeeded}}},
	})
	if err != nil {
		return &sinks.Error{Verdict: sinks.Misconfigured, Reason: "ask for the privileges", Advice: "correct data_stream", Err: err}
	}
	got, _, failed := s.ask(ctx, m.client, request{doing: "ask for the privileges",
		api: esapi.SecurityHasPrivilegesRequest{FilterPath: []string{"index", "error.type"}}, contentType: "application/json", body: body}, buffer)
	if failed != nil {
		return failed
	}
	if got.status != http.StatusOK {
		return s.refusal(got)
	}
	var privilege struct {
		Index map[string]map[string]bool
	}
	if json.Unmarshal(got.body, &privilege) != nil {
		return notUnderstood("it is not JSON of the expected form")
	}
	has := privilege.Index[s.options.DataStream]
	if !has[needed] {
		missing := needed
		if !has[mayBeNeeded] {
			missing += " and the privilege " + mayBeNeeded
		}
		return &sinks.Error{Verdict: sinks.Misconfigured, Status: http.StatusForbidden,
			Reason: fmt.Sprintf("Elasticsearch accepts %s, as the user %s, which lacks the privilege %s", s.credentials(), username, missing),
			Advice: grant(s.options)}
	}
	fact := fmt.Sprintf("Elasticsearch accepts %s, as the user %s, and lets it create documents in %s", s.credentials(), username, s.options.DataStream)
	if !has[mayBeNeeded] {
		fact += ", which has to exist already, since the privilege " + mayBeNeeded + " is missing"
	}
	probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: fact})
	return nil
}

// credentials names the credentials of the settings.
func (s *Sink) credentials() string {
	if s.options.APIKey != "" {
		return "the API key"
	}
	return "the password"
}

func (s *Sink) probePipeline(ctx context.Context, m member, buffer *bytes.Buffer) *sinks.Error {
	got, _, err := s.ask(ctx, m.client, request{doing: "look for the ingest pipeline",
		api: esapi.IngestGetPipelineRequest{PipelineID: url.PathEscape(s.options.Pipeline), FilterPath: []string{"*.version", "error.type"}}}, buffer)
	if err != nil {
		return err
	}
	if got.status == http.StatusNotFound {
		reason, advice := missingPipeline(s.known())
		return &sinks.Error{Verdict: sinks.Misconfigured, Status: got.status, Reason: reason, Advice: advice}
	}
	return nil // any other response says nothing about it
}

// find searches for a record that was written in a connectivity check, if the credentials may read.
// Elasticsearch finds a document after a refresh, about a second later.
func (s *Sink) find(ctx context.Context, batch []sinks.Entry) {
	if !probe.From(ctx).Enabled() || len(batch) == 0 {
		return
	}
	last := batch[len(batch)-1]
	id := new(ids).append(nil, last.Operation, last.Record)
	r := request{doing: "look for the record", contentType: "application/json",
		api:  esapi.SearchRequest{Index: []string{url.PathEscape(s.options.DataStream)}, FilterPath: []string{"hits.hits._index", "error.type"}},
		body: fmt.Appendf(nil, `{"_source":false,"query":{"ids":{"values":[%s]}}}`, id)}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(findInterval)
		case <-ctx.Done():
			probe.From(ctx).Report(probe.Warning{Advice: "see whether an ingest pipeline drops it or sends it elsewhere",
				Problem: s.products() + " has confirmed the record, and a search in " + s.options.DataStream + " does not find it within " + findTimeout.String()})
			return
		}
		var buffer bytes.Buffer
		got, _, err := s.do(probe.Quiet(ctx), r, &buffer)
		var found struct {
			Hits struct {
				Hits []struct {
					Index string `json:"_index"`
				}
			}
		}
		switch {
		case err != nil:
		case got.status == http.StatusForbidden:
			probe.From(ctx).Report(probe.Fact{Step: probe.Acceptance, Text: "the credentials may not read, so it was not searched for"})
			return
		case got.status == http.StatusOK && json.Unmarshal(got.body, &found) == nil && len(found.Hits.Hits) > 0:
			probe.From(ctx).Report(probe.Fact{Step: probe.Acceptance, Text: fmt.Sprintf("a search in the data stream %s finds it, in the index %s", s.options.DataStream, found.Hits.Hits[0].Index)})
			return
		}
	}
}
