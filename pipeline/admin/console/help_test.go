package console

import (
	"net/http"
	"strings"
	"testing"
)

// TestHelp checks the list of pages, a page and a search, and that a query is never HTML.
func TestHelp(t *testing.T) {
	help := &Help{
		Pages: []HelpPage{{Topic: "start", Group: "First", Title: "Start here", Summary: "How to begin"}, {Topic: "next", Group: "Then", Title: "Go on"}},
		Render: func(topic string) (string, error) {
			return "<h1>" + topic + "</h1>", nil
		},
		Search: func(query string) []HelpHit {
			if !strings.Contains(query, "begin") {
				return nil
			}
			return []HelpHit{{Topic: "start", Anchor: "a", Page: "Start here", Section: "A", Excerpt: "1 < 2"}}
		},
	}
	c := mustNew(t, Options{Token: token, Help: func() *Help { return help }})
	for _, test := range []struct {
		path   string
		status int
		has    string
	}{
		{"/console/help/", 200, `<a href="/console/help/start">Start here</a><span class="more">How to begin</span>`},
		{"/console/help/next", 200, "<h1>next</h1>"},
		{"/console/help/next", 200, `<a href="/console/help/start" rel="prev">← Start here</a>`},
		{"/console/help/nothing", 404, "404"},
		{"/console/help/?q=begin", 200, `<a href="/console/help/start#a">A</a> <span class="more">Start here</span>`},
		{"/console/help/?q=begin", 200, "1 &lt; 2"},
		{"/console/help/?q=%3Cscript%3E%22", 200, `value="&lt;script&gt;&#34;"`},
		{"/console/help/?q=" + strings.Repeat("x", 500), 200, `value="` + strings.Repeat("x", maxQuery) + `"`},
		{"/console/login", 200, "/console/help/console#logging-in"},
	} {
		r := send(t, c, "GET", test.path, "", nil)
		if body := text(t, r); r.StatusCode != test.status || !strings.Contains(body, test.has) || strings.Contains(body, "<script>") {
			t.Errorf("%.60s: %s, want %d with %s\n%s", test.path, r.Status, test.status, test.has, body)
		}
		if r.Header.Get("Content-Security-Policy") != policy && test.status == 200 {
			t.Errorf("%s has the policy %q", test.path, r.Header.Get("Content-Security-Policy"))
		}
	}
	elsewhere := send(t, c, "GET", "/console/help/", "", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:40000" })
	if elsewhere.StatusCode != http.StatusForbidden {
		t.Errorf("from another machine: %s", elsewhere.Status)
	}
	without := send(t, mustNew(t, Options{Token: token}), "GET", "/console/help/", "", nil)
	if without.StatusCode != http.StatusNotFound {
		t.Errorf("without a documentation: %s", without.Status)
	}
}
