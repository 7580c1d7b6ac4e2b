package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestHTML checks that every page is HTML which the console's policy permits, with the anchors of
// its headings, and that links to other pages lead to pages and to headings of them.
func TestHTML(t *testing.T) {
	const base = "/help/"
	anchors := make(map[string]map[string]bool)
	pages := make(map[string]string)
	for _, p := range Pages() {
		html, err := HTML(p.Markdown(), base)
		if err != nil {
			t.Fatal(err)
		}
		pages[p.Topic] = html
		anchors[p.Topic] = make(map[string]bool)
		for _, id := range regexp.MustCompile(`<h[1-6] id="([^"]*)"`).FindAllStringSubmatch(html, -1) {
			if anchors[p.Topic][id[1]] {
				t.Errorf("%s: the anchor %s is there twice", p.Topic, id[1])
			}
			anchors[p.Topic][id[1]] = true
		}
		if got, want := len(anchors[p.Topic]), len(headings(p.Markdown())); got != want {
			t.Errorf("%s: %d anchors, want %d", p.Topic, got, want)
		}
		for _, tag := range []string{"<script", "<style", "style=", "<img"} {
			if strings.Contains(html, tag) {
				t.Errorf("%s has %q", p.Topic, tag)
			}
		}
	}
	checked := 0
	for topic, html := range pages {
		for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(html, -1) {
			target, inside := strings.CutPrefix(link[1], base)
			switch {
			case strings.HasPrefix(link[1], "#"):
				target = topic + link[1]
			case strings.Contains(link[1], "://"):
				continue
			case !inside:
				t.Errorf("%s: the link %s leads nowhere", topic, link[1])
				continue
			}
			checked++
			page, anchor, hasAnchor := strings.Cut(target, "#")
			if anchors[page] == nil || hasAnchor && !anchors[page][anchor] {
				t.Errorf("%s: the link %s: there is no such heading", topic, link[1])
			}
		}
	}
	if checked < 100 {
		t.Errorf("found %d links, expected more: the test looks in the wrong place", checked)
	}
}

// TestHTMLElements checks each kind of link.
func TestHTMLElements(t *testing.T) {
	for _, test := range []struct{ markdown, want string }{
		{"# A *title*", `<h1 id="a-title"><a href="#a-title">A <em>title</em></a></h1>`},
		{"[r](syslog.md#relp)", `<a href="/help/syslog#relp">r</a>`},
		{"[r](syslog.md)", `<a href="/help/syslog">r</a>`},
		{"[here](#below)", `<a href="#below">here</a>`},
		{"[m](mailto:a@example.com)", `<a href="mailto:a@example.com">m</a>`},
		{"[e](../../../enrich/doc.go)", `<a href="https://github.com/ttydrain/ttydrain/blob/main/enrich/doc.go">e</a>`},
		{"![A *picture*](a.png)", `<a href="https://github.com/ttydrain/ttydrain/blob/main/cmd/ttydrain/docs/a.png">A <em>picture</em></a>`},
		{"    <pre>", `<pre tabindex="0"><code>&lt;pre&gt;`},
		{"|a|b|\n|:-|-|\n|1|2|", `<th align="left">a</th>`},
		{"<script>alert(1)</script>", `<!-- raw HTML omitted -->`},
	} {
		html, err := HTML([]byte(test.markdown), "/help/")
		if err != nil || !strings.Contains(html, test.want) {
			t.Errorf("%s: %v, got %s, want %s", test.markdown, err, html, test.want)
		}
	}
}

// TestSearch checks which section is found first.
func TestSearch(t *testing.T) {
	index := NewIndex()
	for _, test := range []struct{ query, first string }{
		{"relp confirms", "syslog#relp"},
		{"DEAD letters", "drains#dead-letters"},
		{"fingerprint authorities", "drains#tls"},
		{"idempotency", "https#write-a-receiver-of-your-own"},
		{"quickst", "quickstart#quick-start"},
		{"zzyzx", ""},
		{"relp zzyzx", ""},
		{"  ", ""},
	} {
		hits := index.Search(test.query)
		first := ""
		if len(hits) > 0 {
			first = hits[0].Page.Topic + "#" + hits[0].Section.Anchor
		}
		if first != test.first {
			t.Errorf("%q finds %q first, want %q", test.query, first, test.first)
		}
	}
	hit := index.Search("kernel acknowledged")[0]
	if !strings.Contains(hit.Excerpt, "acknowledged") || len([]rune(hit.Excerpt)) > excerptRunes+4 {
		t.Errorf("the excerpt is %q", hit.Excerpt)
	}
}
