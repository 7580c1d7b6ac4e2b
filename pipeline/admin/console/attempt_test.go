package console

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFrom checks that X-Forwarded-For is only used from trusted proxies, and only the part that
// they have added.
func TestFrom(t *testing.T) {
	a := NewAttempts([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	for _, test := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.7:1", nil, "192.0.2.7"},
		{"192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		{"[::ffff:192.0.2.7]:1", nil, "192.0.2.7"},
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"203.0.113.9", "198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"203.0.113.9, not an address, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = test.peer, test.forwarded
		if got := a.From(r).String(); got != test.want {
			t.Errorf("%s, %q: from %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

// TestWrongTokensDoNotLockOut checks that wrong tokens from the operator's address, on the machine
// or through a proxy, neither lock out the right token nor fill the log.
func TestWrongTokensDoNotLockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := mustNew(t, Options{Token: token, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		guess := func(from string) int {
			return send(t, c, "POST", "/console/login", "name=Ada&token=guess", header("X-Forwarded-For", from)).StatusCode
		}
		count := make(map[int]int)
		for i := range 5000 {
			count[guess("192.0.2.7")]++
			if i%100 == 0 {
				enter(t, c, header("X-Forwarded-For", "192.0.2.7"))
			}
		}
		if count[401] != wrongAtOnce || count[429] != 5000-wrongAtOnce {
			t.Errorf("the answers to wrong tokens: %v", count)
		}
		if status := guess("192.0.2.8"); status != 401 {
			t.Errorf("another client of the same proxy: %d", status)
		}
		for i := range 5000 {
			guess(fmt.Sprintf("198.51.%d.%d", i/250, i%250))
		}
		if lines := strings.Count(log.String(), "login refused"); lines == 0 || lines > maxLines {
			t.Errorf("%d log lines", lines)
		}
		time.Sleep(wrongEvery)
		log.Reset()
		guess("192.0.2.9")
		if !strings.Contains(log.String(), "from=192.0.2.9 left_out=") || strings.Contains(log.String(), "left_out=0") {
			t.Errorf("the log does not count what it leaves out: %s", &log)
		}
		// An incomplete form does not count as a wrong token.
		if r := send(t, c, "POST", "/console/login", "name=Ada&token=%zz", header("X-Forwarded-For", "203.0.113.1")); r.StatusCode != 400 {
			t.Errorf("half of a form: %s", r.Status)
		}
	})
}

// TestCallbacksDoNotLockOut checks that invalid callbacks do not prevent logins by OpenID Connect.
func TestCallbacksDoNotLockOut(t *testing.T) {
	p := newProvider(t)
	c := mustNew(t, Options{URL: mustParse(t, "https://console.example.com"), OIDC: &OIDC{Issuer: p.URL, ClientID: "ttydrain",
		ClientSecret: "the-client-secret", AllowedEmails: []string{"ada@example.com"}}})
	there := to("console.example.com")
	for range 100 {
		if r := send(t, c, "GET", "/console/oidc/callback?state=x&code=y", "", there); r.StatusCode != http.StatusBadRequest {
			t.Fatalf("a callback of no login: %s", r.Status)
		}
	}
	begun := send(t, c, "GET", "/console/oidc", "", there)
	asked := mustParse(t, begun.Header.Get("Location")).Query()
	p.mu.Lock()
	p.asked = asked
	p.mu.Unlock()
	come := func(code string) *http.Response {
		back := url.Values{"state": {asked.Get("state")}, "code": {code}}
		return send(t, c, "GET", "/console/oidc/callback?"+back.Encode(), "", all(there, func(r *http.Request) { r.AddCookie(begun.Cookies()[0]) }))
	}
	for range 3 * wrongAtOnce {
		if r := come("a wrong code"); r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong code: %s", r.Status)
		}
	}
	if r := come("the-code"); r.StatusCode != http.StatusOK {
		t.Errorf("a login after these: %s %s", r.Status, text(t, r))
	}
}
