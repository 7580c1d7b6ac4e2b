package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/endpoint"
)

func TestCall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || r.Header.Get("Authorization") != "Bearer SECRET":
			t.Errorf("%v, %v", r.Header, err)
		case r.URL.Path == "/api/v1/refused":
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"error": "it would skip records"}`)
		case r.URL.Path == "/api/v1/other":
			io.WriteString(w, "not JSON")
		case r.Method == http.MethodPost && r.URL.RequestURI() == "/api/v1/drains/siem/rewind?x=1" && string(body) == `{"to":"now"}`:
			io.WriteString(w, ` {"name": "siem"}`)
		default:
			t.Errorf("%s %s %s", r.Method, r.URL, body)
		}
	}))
	defer server.Close()
	at, err := endpoint.Parse(strings.TrimPrefix(server.URL, "http://"), "")
	if err != nil {
		t.Fatal(err)
	}
	c := Client{Endpoint: at, Token: "SECRET"}
	var got struct{ Name string }
	answer, err := c.Call(t.Context(), http.MethodPost, "drains/siem/rewind?x=1", map[string]string{"to": "now"}, &got)
	if err != nil || got.Name != "siem" || string(answer) != ` {"name": "siem"}` {
		t.Errorf("%q, %+v, %v", answer, got, err)
	}
	_, err = c.Call(t.Context(), http.MethodGet, "refused", nil, &got)
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Status != http.StatusConflict || refused.Text != "it would skip records" {
		t.Errorf("refused: %v", err)
	}
	if _, err := c.Call(t.Context(), http.MethodGet, "other", nil, &got); err == nil || !strings.Contains(err.Error(), "read the response of "+at.Name) {
		t.Errorf("an answer that is not JSON: %v", err)
	}
	server.Close()
	if _, err := c.Call(t.Context(), http.MethodGet, "drains", nil, &got); err == nil || !strings.Contains(err.Error(), "is serve running") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("no server: %v", err)
	}
}
