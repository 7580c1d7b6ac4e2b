package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// send sends a request with the token, unless the header has another one, and returns the response
// and the error in it.
func (s *stage) send(method, path, body string, header http.Header) (r *http.Response, reason string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header = header.Clone()
	if request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer t")
	}
	r, err = http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		var e refused
		if err := json.Unmarshal(data, &e); err != nil || e.Error == "" || r.Header.Get("Content-Type") != "application/json" {
			s.t.Errorf("%s %s: %s has no error in JSON: %s %q", method, path, r.Status, r.Header.Get("Content-Type"), data)
		}
		reason = e.Error
	}
	return r, reason
}

// TestUnauthenticated checks that every operation that needs authentication refuses requests
// without a token and with a wrong one, in JSON.
func TestUnauthenticated(t *testing.T) {
	s := newStage(t, bus.RoleGateway|bus.RoleEnrich|bus.RoleRouter, false, false)
	n := 0
	for _, r := range new(api).routes() {
		n++
		path := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(r.Path, "7")
		if got, _ := s.send(r.Method, path, "", http.Header{"Authorization": {"Basic dDp0"}}); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s with another scheme: %s", r.Key(), got.Status)
		}
		if got, _ := s.send(r.Method, path, "", http.Header{"Authorization": {"Bearer T"}}); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s with a wrong token: %s", r.Key(), got.Status)
		}
		got := s.ask("", r.Method, strings.TrimPrefix(path, "/api/v1/"), "")
		if strings.HasPrefix(path, "/api/v1/") && (got.StatusCode != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != bearer) {
			t.Errorf("%s without a token: %s", r.Key(), got.Status)
		}
	}
	if n < 15 {
		t.Errorf("found %d operations, expected more", n)
	}
}

// TestRefusals checks the statuses and the reasons of refused requests, and that they are JSON.
func TestRefusals(t *testing.T) {
	s := newStage(t, bus.RoleGateway|bus.RoleEnrich|bus.RoleRouter, false, false)
	const form = "application/x-www-form-urlencoded"
	for _, test := range []struct {
		method, path, kind, body string
		status                   int
		says                     string
	}{
		{"GET", "/api/v1/nothing", "", "", 404, "this path does not exist"},
		{"GET", "/api/v2/sessions", "", "", 404, "this path does not exist"},
		{"PUT", "/api/v1/sessions", "", "", 405, "this path has other methods: GET, HEAD"},
		{"GET", "/api/v1/sessions/kill", "", "", 405, "this path has other methods: POST"},
		{"DELETE", "/api/v1/drains/siem/pause", "", "", 405, "this path has other methods: POST"},
		{"POST", "/api/openapi.json", "", "", 405, "this path has other methods: GET, HEAD"},
		{"GET", "/api/v1/sessions?lmit=5", "", "", 400, `unknown parameter "lmit"`},
		{"GET", "/api/v1/sessions?limit=0", "", "", 400, "limit: expected a number"},
		{"GET", "/api/v1/sessions?limit=", "", "", 400, "limit: expected a number"},
		{"GET", "/api/v1/sessions?limit=99999999999999999999", "", "", 400, "limit: expected a number"},
		{"GET", "/api/v1/sessions?app=a&app=b", "", "", 400, "app: expected one value"},
		{"GET", "/api/v1/sessions?all=yes", "", "", 400, "all: expected true or false"},
		{"GET", "/api/v1/sessions?text=%zz", "", "", 400, "invalid query"},
		{"GET", "/api/v1/sessions/7/cast?x=1", "", "", 400, "unknown parameter"},
		{"GET", "/api/v1/segments?since=yesterday", "", "", 400, "since: expected a time"},
		{"GET", "/api/v1/segments?after=-1", "", "", 400, "after: expected a number"},
		{"GET", "/api/v1/segments?from=then", "", "", 400, "from: expected now"},
		{"GET", "/api/v1/deadletters/0", "", "", 400, "number of a dead letter"},
		{"POST", "/api/v1/drains/siem/rewind", form, `{"operation": "7"}`, 415, "application/json"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", ``, 400, "it is not a JSON object: expected"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{}`, 400, `expected either "to" or "operation"`},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `null`, 400, "it is null"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `[]`, 400, "it is not a JSON object"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"operation": "7"} {}`, 400, "it is not a JSON object"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"Operation": "7"}`, 400, `the field "Operation" is unknown`},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"operation": null}`, 400, `the field "operation" is null`},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"operation": ""}`, 400, `the field "operation": it is empty`},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"operation": 7}`, 400, `the field "operation" has another type`},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", `{"to": "yesterday"}`, 400, "expected"},
		{"POST", "/api/v1/drains/siem/rewind", "application/json", "{\"operation\": \"\xff\"}", 400, "it is not UTF-8"},
		{"POST", "/api/v1/drains/siem/test", form, "asked_by=ada", 415, "application/json"},
		{"POST", "/api/v1/sessions/kill", "application/json", `{"operations": [null], "asked_by": "ada"}`, 400, `the field "operations" is null`},
		{"POST", "/api/v1/sessions/kill", "application/json", `{"operations": [], "app": "web", "asked_by": "ada"}`, 400, `the field "operations": it is empty`},
		{"POST", "/api/v1/sessions/kill", "", `{"operations": ["9"]}`, 400, "expected the requester in asked_by"},
	} {
		header := make(http.Header)
		if test.kind != "" {
			header.Set("Content-Type", test.kind)
		}
		r, reason := s.send(test.method, test.path, test.body, header)
		if r.StatusCode != test.status || !strings.Contains(reason, test.says) {
			t.Errorf("%s %s %s: %s, %q", test.method, test.path, test.body, r.Status, reason)
		}
		if test.status == http.StatusMethodNotAllowed && !strings.HasSuffix(reason, ": "+r.Header.Get("Allow")) {
			t.Errorf("%s %s: the methods are %q", test.method, test.path, r.Header.Get("Allow"))
		}
	}
}
