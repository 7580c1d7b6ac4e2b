package admin

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// TestWrongBearerTokens checks that wrong tokens of the API are limited and logged like those of
// the console, and never lock out a right one.
func TestWrongBearerTokens(t *testing.T) {
	s := newStage(t, bus.RoleGateway|bus.RoleEnrich|bus.RoleRouter, false, false)
	count := make(map[int]int)
	for range 50 {
		r := s.ask("Bearer guess", "POST", "drains/siem/pause", "")
		count[r.StatusCode]++
		if r.StatusCode == http.StatusTooManyRequests && r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if r := s.ask("token", "GET", "sessions", ""); r.StatusCode != http.StatusOK {
			t.Fatalf("the right token: %s", r.Status)
		}
	}
	if count[401] < 10 || count[401] > 15 || count[401]+count[429] != 50 { // one more in ten seconds
		t.Errorf("the answers to wrong tokens: %v", count)
	}
	for range 50 {
		if r := s.ask("", "POST", "drains/siem/pause", ""); r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("without a token: %s", r.Status)
		}
	}
	s.mu.Lock()
	log := s.log.String()
	s.mu.Unlock()
	if n := strings.Count(log, "admin: token refused"); n < 10 || n > 15 {
		t.Errorf("%d log lines of wrong tokens:\n%s", n, log)
	}
	if n := strings.Count(log, "who=nobody"); n == 0 || n > 20 {
		t.Errorf("%d log lines of what nobody may do:\n%s", n, log)
	}
	if strings.Contains(log, "guess") {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// TestBodyLimit checks that longer bodies are refused.
func TestBodyLimit(t *testing.T) {
	s := newStage(t, bus.RoleGateway|bus.RoleEnrich|bus.RoleRouter, false, false)
	for _, path := range []string{"sessions/kill", "drains/siem/rewind", "drains/siem/test", "drains/siem/pause"} {
		r := s.ask("token", "POST", path, `{"asked_by": "`+strings.Repeat("x", maxBody)+`"}`)
		if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(body), "longer than") {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
	}
}
