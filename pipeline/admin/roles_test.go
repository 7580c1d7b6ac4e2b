package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// stageTokens are a token for each role, and for auditors without PHI.
func stageTokens() (tokens role.Tokens) {
	for _, r := range role.Roles() {
		tokens = append(tokens, role.Token{Name: "token of " + string(r), Secret: string(r), Grant: role.Grant{Role: r, PHI: true}})
	}
	return append(tokens, role.Token{Name: "restricted", Secret: "restricted", Grant: role.Grant{Role: role.Auditor}})
}

// TestRoles asks each operation with each role, by its token and as a user of the console.
func TestRoles(t *testing.T) {
	s := newStage(t, bus.RoleRouter|bus.RoleGateway, true, true)
	needs := permissions()
	fill := strings.NewReplacer("{id}", "7", "{name}", "none", "{number}", "999")
	cookies := make(map[role.Role]*http.Cookie)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, r := range role.Roles() {
		answer, err := client.PostForm(s.url+"/console/login", url.Values{"name": {"Eve"}, "token": {string(r)}})
		if err != nil || len(answer.Cookies()) != 1 {
			t.Fatalf("log in as %s: %v %v", r, err, answer)
		}
		answer.Body.Close()
		cookies[r] = answer.Cookies()[0]
	}
	ask := func(method, path, body, bearer string, cookie *http.Cookie) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			request.Header.Set("Authorization", "Bearer "+bearer)
		} else {
			request.AddCookie(cookie)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK && answer.Header.Get("Content-Type") == "text/event-stream" {
			return answer.StatusCode, "" // it has no end
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	asked := 0
	for _, route := range new(api).routes() {
		need, ok := needs[route.ID]
		if !ok {
			t.Errorf("%s has no row in permissions", route.ID)
			continue
		}
		delete(needs, route.ID)
		if !strings.Contains(route.About, "Roles: "+role.Sentence(need)+".") {
			t.Errorf("%s does not name its roles: %q", route.ID, route.About)
		}
		path := fill.Replace(route.Path)
		if route.ID == "listDeadLetters" || route.ID == "redeliverDeadLetters" || route.ID == "discardDeadLetters" {
			path += "?last=1"
		}
		body := "{}"
		if route.Body == nil {
			body = ""
		}
		for _, r := range role.Roles() {
			for _, by := range route.Security {
				bearer := ""
				if by == schemeToken {
					bearer = string(r)
				}
				status, text := ask(route.Method, path, body, bearer, cookies[r])
				denied := status == http.StatusForbidden && strings.Contains(text, "this needs the role "+role.Sentence(need)+"; yours is "+string(r))
				if denied == r.May(need) || status == http.StatusUnauthorized {
					t.Errorf("%s as %s by %s: %d %s", route.ID, r, by, status, text)
				}
				asked++
			}
		}
		if status, text := ask(route.Method, path, body, "nobody", nil); status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
			t.Errorf("%s with a wrong token: %d %s", route.ID, status, text)
		}
	}
	for id := range needs {
		t.Errorf("permissions has %s, which is no operation", id)
	}
	if asked < 100 {
		t.Errorf("%d requests: this tests too little", asked)
	}

	// The session may hold protected health information.
	for path, why := range map[string]string{
		"/api/v1/sessions/7/text": "this session may hold", "/api/v1/sessions/7/cast": "this session may hold",
		"/api/v1/sessions/7/live": "this session may hold", "/api/v1/segments?operation=7": "this session may hold", "/api/v1/segments": "name one session",
	} {
		if status, text := ask("GET", path, "", "restricted", nil); status != http.StatusForbidden || !strings.Contains(text, why) {
			t.Errorf("GET %s without phi: %d %s", path, status, text)
		}
	}
	if status, text := ask("GET", "/api/v1/sessions/7", "", "restricted", nil); status != http.StatusOK {
		t.Errorf("the status without phi: %d %s", status, text)
	}
	for _, r := range role.Roles() {
		_, text := ask("GET", "/console/me", "", "", cookies[r])
		var me struct {
			Role          role.Role
			Read, Operate bool
		}
		if err := json.Unmarshal([]byte(text), &me); err != nil || me.Role != r || me.Read != r.May(role.Read) || me.Operate != r.May(role.Operate) {
			t.Errorf("%s is %s", r, text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range []string{`who="the token token of operator"`, `who="the token restricted"`, "status=403"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log has no %s", want)
		}
	}
}
