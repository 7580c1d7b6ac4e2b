package console

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const token = "the-admin-token"

// send returns a console's response to a request. edit changes the request, which comes from this
// machine.
func send(t *testing.T, c *Console, method, target, body string, edit func(*http.Request)) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	c.Register(mux)
	// The API's handler.
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		p, err := c.Identify(r)
		if err != nil {
			w.WriteHeader(err.(*Refusal).Status)
			io.WriteString(w, err.Error())
			return
		}
		io.WriteString(w, p.String())
	})
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:9464"
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mustNew(t *testing.T, o Options) *Console {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// enter logs in with the token, and returns the cookie.
func enter(t *testing.T, c *Console, edit func(*http.Request)) *http.Cookie {
	t.Helper()
	r := send(t, c, "POST", "/console/login", url.Values{"name": {"Ada"}, "token": {token}}.Encode(), edit)
	if r.StatusCode != http.StatusSeeOther || len(r.Cookies()) != 1 {
		t.Fatalf("log in: %s, %v, %s", r.Status, r.Cookies(), text(t, r))
	}
	return r.Cookies()[0]
}

func header(pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
	}
}

func all(edits ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, edit := range edits {
			edit(r)
		}
	}
}

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}
func to(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }

// TestIdentify checks who is authenticated from which address, and who is not.
func TestIdentify(t *testing.T) {
	local := mustNew(t, Options{Token: token})
	public := mustNew(t, Options{Token: token, URL: mustParse(t, "https://console.example.com")})
	proxy := mustNew(t, Options{URL: mustParse(t, "https://console.example.com"), Proxy: &Proxy{Header: "X-Forwarded-Email",
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Allowed: []string{"ada@example.com", "*@ops.example.com"}}})
	cookie := enter(t, local, nil)
	with := func(c *http.Cookie) func(*http.Request) { return func(r *http.Request) { r.AddCookie(c) } }
	in := with(cookie)
	there := to("console.example.com")
	publicIn := with(enter(t, public, all(there, from("192.0.2.7:1"))))
	trusted := all(there, from("10.1.2.3:4"))
	for _, test := range []struct {
		name    string
		console *Console
		method  string
		edit    func(*http.Request)
		status  int
		says    string
	}{
		{"no cookie", local, "GET", nil, 401, "you are not logged in"},
		{"a cookie", local, "GET", in, 200, "Ada (by the admin token, in the console)"},
		{"a cookie, and a change", local, "POST", in, 200, "Ada"},
		{"a cookie of nobody", local, "GET", with(&http.Cookie{Name: CookieName, Value: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}), 401, "not logged in"},
		{"an empty cookie", local, "GET", with(&http.Cookie{Name: CookieName}), 401, "not logged in"},
		{"another console's cookie", public, "GET", all(in, there), 401, "not logged in"},
		{"from elsewhere", local, "GET", all(in, from("192.0.2.7:1")), 403, "restricted to its own machine"},
		{"for another host", local, "GET", all(in, to("attacker.example.com:9464")), 403, "restricted to its own machine"},
		{"by the machine's own address", local, "GET", all(in, to("192.0.2.1:9464")), 403, "restricted to its own machine"},
		{"by IPv6", local, "GET", all(in, from("[::1]:4"), to("[::1]:9464")), 200, "Ada"},
		{"IPv4 in IPv6", local, "GET", all(in, from("[::ffff:127.0.0.1]:4"), to("127.0.0.1:9464")), 200, "Ada"},
		{"a page of its own", local, "POST", all(in, header("Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9464")), 200, "Ada"},
		{"an address that was typed", local, "GET", all(in, header("Sec-Fetch-Site", "none")), 200, "Ada"},
		{"a page of another site", local, "POST", all(in, header("Sec-Fetch-Site", "cross-site")), 403, "another site"},
		{"a page of another port", local, "POST", all(in, header("Sec-Fetch-Site", "same-site")), 403, "another site"},
		{"a page of another port that reads", local, "GET", all(in, header("Sec-Fetch-Site", "same-site")), 403, "another site"},
		{"an older browser's page of another site", local, "POST", all(in, header("Origin", "http://localhost:9999")), 403, "another site"},
		{"a frame without origin", local, "POST", all(in, header("Origin", "null")), 403, "another site"},
		{"a URL", public, "GET", all(publicIn, there, from("192.0.2.7:1")), 200, "Ada"},
		{"a URL with its port", public, "GET", all(publicIn, to("console.example.com:443"), from("192.0.2.7:1")), 200, "Ada"},
		{"a URL, for another host", public, "GET", all(publicIn, to("localhost:9464")), 421, "https://console.example.com"},
		{"a header without a proxy", local, "GET", header("X-Forwarded-Email", "ada@example.com"), 401, "not logged in"},
		{"a proxy", proxy, "GET", all(trusted, header("X-Forwarded-Email", "ada@example.com")), 200, "ada@example.com (in the console)"},
		{"a proxy, of a domain", proxy, "GET", all(trusted, header("X-Forwarded-Email", "Eve@OPS.example.com")), 200, "Eve@OPS.example.com"},
		{"a proxy, of no domain", proxy, "GET", all(trusted, header("X-Forwarded-Email", "eve@xops.example.com")), 403, "not allowed to use"},
		{"a proxy, of another domain", proxy, "GET", all(trusted, header("X-Forwarded-Email", "eve@example.com")), 403, "not allowed to use"},
		{"a proxy without the header", proxy, "GET", trusted, 401, "did not send your name"},
		{"a proxy with two headers", proxy, "GET", all(trusted, header("X-Forwarded-Email", "ada@example.com", "X-Forwarded-Email", "eve@example.com")), 401, "did not send your name"},
		{"a proxy with a control character", proxy, "GET", all(trusted, header("X-Forwarded-Email", "ada@ops.example.com\t@ops.example.com")), 401, "did not send your name"},
		{"the header from an address that is not trusted", proxy, "GET", all(there, header("X-Forwarded-Email", "ada@example.com")), 401, "only accepts requests from its proxy"},
		{"a proxy, and a page of another site", proxy, "POST", all(trusted, header("X-Forwarded-Email", "ada@example.com", "Sec-Fetch-Site", "cross-site")), 403, "another site"},
	} {
		r := send(t, test.console, test.method, "/api/v1/x", "", test.edit)
		if got := text(t, r); r.StatusCode != test.status || !strings.Contains(got, test.says) {
			t.Errorf("%s: %s, %q", test.name, r.Status, got)
		}
	}
	// Logging out is only possible from the console's own pages.
	if r := send(t, local, "POST", "/console/logout", "", all(in, header("Sec-Fetch-Site", "cross-site"))); r.StatusCode != 403 {
		t.Errorf("logged out by another site: %s", r.Status)
	}
	if r := send(t, local, "POST", "/console/logout", "", in); r.StatusCode != 303 || r.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logged out: %s, %v", r.Status, r.Cookies())
	}
	if r := send(t, local, "GET", "/api/v1/x", "", in); r.StatusCode != 401 {
		t.Errorf("after the logout: %s", r.Status)
	}
}

// TestLogin checks that logins need the token and a name, and that attempts are limited.
func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Options{Token: token})
		for _, test := range []struct {
			name, token string
			edit        func(*http.Request)
			status      int
			says        string
		}{
			{"Ada", "", nil, 401, "This is not the admin token"},
			{"Ada", token + "x", nil, 401, "This is not the admin token"},
			{`"><script>`, "x", nil, 401, `value="&#34;&gt;&lt;script&gt;"`},
			{"", token, nil, 400, "Enter your name"},
			{"Ada\nroot", token, nil, 400, "Enter your name"},
			{"Ada", token, header("Sec-Fetch-Site", "cross-site"), 403, "another site"},
			{"Ada", token, from("192.0.2.7:1"), 403, "its own machine"},
			{"Ada", token, nil, 303, ""},
		} {
			r := send(t, c, "POST", "/console/login", url.Values{"name": {test.name}, "token": {test.token}}.Encode(), test.edit)
			if got := text(t, r); r.StatusCode != test.status || !strings.Contains(got, test.says) || strings.Contains(got, token) {
				t.Errorf("%q, %q: %s, %s", test.name, test.token, r.Status, got)
			}
			if (len(r.Cookies()) > 0) != (test.status == 303) {
				t.Errorf("%q, %q: the cookies %v", test.name, test.token, r.Cookies())
			}
		}
		cookie := enter(t, c, nil)
		if cookie.Name != CookieName || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure || len(cookie.Value) < 26 {
			t.Errorf("the cookie is %v", cookie)
		}
		public := mustNew(t, Options{Token: token, URL: mustParse(t, "https://console.example.com")})
		if cookie := enter(t, public, to("console.example.com")); !cookie.Secure {
			t.Errorf("the cookie of a console with TLS is %v", cookie)
		}
		if cookie := enter(t, c, func(r *http.Request) { r.TLS = new(tls.ConnectionState) }); !cookie.Secure {
			t.Errorf("the cookie over TLS is %v", cookie)
		}
		// A login is valid for half a day.
		in := func(r *http.Request) { r.AddCookie(cookie) }
		time.Sleep(visitLifetime - time.Second)
		if r := send(t, c, "GET", "/console/me", "", in); r.StatusCode != 200 || !strings.Contains(text(t, r), `"name":"Ada"`) {
			t.Errorf("before the end of the login: %s", r.Status)
		}
		time.Sleep(2 * time.Second)
		if r := send(t, c, "GET", "/console/me", "", in); r.StatusCode != 401 {
			t.Errorf("after the end of the login: %s", r.Status)
		}
		// An address may send ten wrong tokens, and then one in ten seconds. Other addresses and valid
		// tokens are not affected.
		guess := func(edit func(*http.Request)) int {
			return send(t, c, "POST", "/console/login", "name=Ada&token=guess", edit).StatusCode
		}
		for i := range wrongAtOnce {
			if status := guess(from("127.0.0.9:1")); status != 401 {
				t.Fatalf("attempt %d: %d", i, status)
			}
			enter(t, c, from("127.0.0.9:1")) // which does not count
		}
		if one, other := guess(from("127.0.0.9:2")), guess(from("127.0.0.10:1")); one != 429 || other != 401 {
			t.Errorf("one more attempt: %d, from another address: %d", one, other)
		}
		enter(t, c, from("127.0.0.9:3"))
		time.Sleep(wrongEvery)
		if one, two := guess(from("127.0.0.9:3")), guess(from("127.0.0.9:4")); one != 401 || two != 429 {
			t.Errorf("after a pause: %d, and at once again: %d", one, two)
		}
	})
}

// TestBounds checks that the memory for logins and attempts is bounded.
func TestBounds(t *testing.T) { synctest.Test(t, testBounds) }

func testBounds(t *testing.T) {
	v := newVisits()
	first := v.begin(Person{Name: "first", Way: ByToken}, false)
	time.Sleep(time.Second)
	for range maxVisits {
		v.begin(Person{Name: "other", Way: ByToken}, false)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(first)
	if _, ok := v.person(r); ok || len(v.all) != maxVisits {
		t.Errorf("%d logins are remembered, the first of them: %t", len(v.all), ok)
	}
	a := NewAttempts(nil)
	at := netip.MustParseAddr("2001:db8::")
	for i := range maxAddresses + 100 {
		b := at.As16()
		b[4], b[5] = byte(i>>8), byte(i)
		a.Wrong(netip.AddrFrom16(b))
		b[15] = 1 // of the same /64
		a.Wrong(netip.AddrFrom16(b))
	}
	if len(a.by) != maxAddresses {
		t.Errorf("%d addresses are remembered", len(a.by))
	}
	if !a.Wrong(netip.MustParseAddr("2001:db9::1")).TooMany {
		t.Error("an address beyond the remembered ones has a separate limit")
	}
}

// TestPages checks that every response has the security headers, and that pages contain nothing
// inline or from elsewhere.
func TestPages(t *testing.T) {
	c := mustNew(t, Options{Token: token})
	for path, kind := range map[string]string{"": "text/html", "login": "text/html", "app.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml",
		"player/asciinema-player.min.js": "text/javascript", "player/LICENSE": "text/plain", "me": "text/plain", "nothing": "text/plain", "login.html": "text/plain", "../console.go": ""} {
		r := send(t, c, "GET", "/console/"+path, "", nil)
		if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, kind) {
			t.Errorf("%q is %q", path, got)
		}
		if kind == "" {
			continue
		}
		for name, want := range map[string]string{"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%q: %s is %q", path, name, got)
			}
		}
		if got := r.Header.Get("Cache-Control"); got != "no-store" && got != "no-cache" {
			t.Errorf("%q: Cache-Control is %q", path, got)
		}
	}
	if strings.Contains(policy, "unsafe-inline") || strings.Contains(policy, "unsafe-eval' ") && !strings.Contains(policy, "'wasm-unsafe-eval'") || strings.Contains(policy, "http") {
		t.Errorf("the policy is %s", policy)
	}
	page := send(t, c, "GET", "/console/", "", header("Accept-Encoding", "gzip"))
	if page.Header.Get("Content-Encoding") != "gzip" {
		t.Error("a page is not compressed")
	}
	if r := send(t, c, "GET", "/console/", "", header("If-None-Match", page.Header.Get("ETag"))); r.StatusCode != 304 || text(t, r) != "" {
		t.Errorf("a page that has not changed: %s", r.Status)
	}
	if r := send(t, c, "GET", "/", "", nil); r.StatusCode != 302 || r.Header.Get("Location") != "/console/" {
		t.Errorf("the beginning: %s", r.Status)
	}
	for name, f := range c.pages.files {
		if strings.HasSuffix(name, ".html") && (strings.Contains(string(f.plain), "style=") || strings.Contains(string(f.plain), "<style") || strings.Contains(string(f.plain), "javascript:")) {
			t.Errorf("%s has a style or a script in it, which the policy refuses", name)
		}
		if strings.HasSuffix(name, ".js") && !strings.HasPrefix(name, "player/") && (strings.Contains(string(f.plain), "innerHTML") || strings.Contains(string(f.plain), "eval(")) {
			t.Errorf("%s reads text as HTML or as a script", name)
		}
	}
}
