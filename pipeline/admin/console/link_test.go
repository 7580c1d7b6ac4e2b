package console

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// follow posts the token of a login link, as its page does.
func follow(t *testing.T, c *Console, link string, edit func(*http.Request)) *http.Response {
	t.Helper()
	_, token, _ := strings.Cut(link, "#")
	return send(t, c, "POST", "/console/link", url.Values{"token": {token}}.Encode(), edit)
}

func mustLink(t *testing.T, c *Console) string {
	t.Helper()
	link, _, err := c.NewLink("Ada")
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// TestLink: a link logs in once; opening its page does not use it up; its token is neither sent
// with the page nor logged.
func TestLink(t *testing.T) {
	var log bytes.Buffer
	c := mustNew(t, Options{Token: token, Local: "http://127.0.0.1:9464", Log: slog.New(slog.NewTextHandler(&log, nil))})
	link := mustLink(t, c)
	page, secret, _ := strings.Cut(link, "#")
	if page != "http://127.0.0.1:9464/console/link" || len(secret) < 26 {
		t.Fatalf("the link is %s", link)
	}
	for range 3 {
		r := send(t, c, "GET", "/console/link", "", nil)
		if body := text(t, r); r.StatusCode != http.StatusOK || len(r.Cookies()) != 0 || !strings.Contains(body, `action="/console/link"`) {
			t.Fatalf("the page: %s, %v\n%s", r.Status, r.Cookies(), body)
		}
	}
	r := follow(t, c, link, nil)
	if r.StatusCode != http.StatusSeeOther || len(r.Cookies()) != 1 {
		t.Fatalf("the first use: %s, %v", r.Status, r.Cookies())
	}
	cookie := r.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
		t.Errorf("the cookie: %v", cookie)
	}
	if who := text(t, send(t, c, "GET", "/api/v1/sessions", "", func(r *http.Request) { r.AddCookie(cookie) })); who != "Ada (by a login link, in the console)" {
		t.Errorf("logged in as %q", who)
	}
	if r := follow(t, c, link, nil); r.StatusCode != http.StatusUnauthorized || len(r.Cookies()) != 0 {
		t.Errorf("the second use: %s", r.Status)
	}
	if strings.Contains(log.String(), secret) || !strings.Contains(log.String(), "way=link") {
		t.Errorf("the log:\n%s", &log)
	}
}

// TestLinkRefusals checks the requests and consoles that log nobody in, and that they do not use
// the link up.
func TestLinkRefusals(t *testing.T) {
	c := mustNew(t, Options{Token: token, Local: "http://127.0.0.1:9464"})
	link := mustLink(t, c)
	for name, r := range map[string]*http.Response{
		"another site":    follow(t, c, link, header("Sec-Fetch-Site", "cross-site")),
		"another machine": follow(t, c, link, from("192.0.2.1:1")),
		"another host":    follow(t, c, link, to("evil.example.com")),
		"in the query":    send(t, c, "POST", strings.Replace(link, "#", "?token=", 1), "", nil),
		"no token":        follow(t, c, "", nil),
		"a wrong token":   follow(t, c, "#"+strings.Repeat("A", 26), nil),
		"the admin token": follow(t, c, "#"+token, nil),
	} {
		if r.StatusCode < 400 || len(r.Cookies()) != 0 {
			t.Errorf("%s: %s, %v", name, r.Status, r.Cookies())
		}
	}
	if r := follow(t, c, link, nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the link after refusals: %s", r.Status)
	}
	for range wrongAtOnce {
		follow(t, c, "#wrong", nil)
	}
	if r := follow(t, c, "#wrong", nil); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after many wrong tokens: %s", r.Status)
	}
	for _, name := range []string{"", " ", "two\nlines", strings.Repeat("a", 500)} {
		if _, _, err := c.NewLink(name); err == nil {
			t.Errorf("there is a link for the name %q", name)
		}
	}
	withoutToken := mustNew(t, Options{Local: "http://127.0.0.1:9464"})
	if _, _, err := withoutToken.NewLink("Ada"); err != errNoToken {
		t.Errorf("a console that does not accept the token: %v", err)
	}
	public := mustNew(t, Options{Token: token, Local: "http://127.0.0.1:9464", URL: mustParse(t, "https://console.example.com")})
	if link := mustLink(t, public); !strings.HasPrefix(link, "https://console.example.com/console/link#") {
		t.Errorf("with a URL: %s", link)
	}
}

// TestLinkExpires: a link expires, and the number of links is bounded.
func TestLinkExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Options{Token: token, Local: "http://127.0.0.1:9464"})
		late, inTime := mustLink(t, c), mustLink(t, c)
		time.Sleep(linkLifetime - 2*time.Second)
		if r := follow(t, c, inTime, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("before the end: %s", r.Status)
		}
		time.Sleep(2 * time.Second)
		if r := follow(t, c, late, nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("after the end: %s", r.Status)
		}
		first := mustLink(t, c)
		for range maxLinks {
			time.Sleep(time.Second)
			mustLink(t, c)
		}
		if len(c.links.all) != maxLinks {
			t.Errorf("there are %d links", len(c.links.all))
		}
		if r := follow(t, c, first, nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("the oldest of too many: %s", r.Status)
		}
	})
}
