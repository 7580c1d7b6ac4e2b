package endpoint

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ask sends a request with a token, and returns the status, or 0 and the error.
func ask(t *testing.T, e Endpoint) (int, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", e.URL+"/api/v1/drains", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer the-token")
	response, err := e.Client.Do(r)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return response.StatusCode, nil
}

func TestParse(t *testing.T) {
	for address, want := range map[string]string{ // a URL, or a part of the error
		"127.0.0.1:9464":               "http://127.0.0.1:9464",
		"127.9.9.9:9464":               "http://127.9.9.9:9464",
		"[::1]:9464":                   "http://[::1]:9464",
		"localhost:9464":               "http://localhost:9464",
		"0.0.0.0:9464":                 "http://0.0.0.0:9464",
		"http://localhost:9464/":       "http://localhost:9464",
		"https://ops.example.com":      "https://ops.example.com",
		"https://192.0.2.7:9464":       "https://192.0.2.7:9464",
		"unix:./data/admin/admin.sock": "http://localhost",
		"192.0.2.7:9464":               "plain HTTP to another machine is refused",
		"ops.example.com:9464":         "plain HTTP to another machine is refused",
		"http://ops.example.com":       "plain HTTP to another machine is refused",
		"http://[2001:db8::1]:9464":    "plain HTTP to another machine is refused",
		"http://127.0.0.1.example.com": "plain HTTP to another machine is refused",
		"http://localhost.example.com": "plain HTTP to another machine is refused",
		"unix:":                        "missing path",
		"https://a:b@ops.example.com":  "expected HOST:PORT",
		"https://ops.example.com/api":  "expected HOST:PORT",
		"ftp://127.0.0.1":              "expected HOST:PORT",
		":9464":                        "expected HOST:PORT",
		"":                             "expected HOST:PORT",
	} {
		e, err := Parse(address, "")
		if strings.Contains(want, "://") {
			if err != nil || e.URL != want {
				t.Errorf("%q is %q, %v; want %q", address, e.URL, err, want)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, %v; want an error with %q", address, e.URL, err, want)
		}
	}
}

// TestPlainHTTPStaysLocal checks that a local name that resolves to another machine is refused
// before anything is sent, and that no proxy of the environment receives the token.
func TestPlainHTTPStaysLocal(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "192.0.2.7:1": false, "[2001:db8::1]:1": false, "nonsense": false} {
		if err := onlyLoopback("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a proxy was asked") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer server.Close()
	e, err := Parse(strings.TrimPrefix(server.URL, "http://"), "")
	if err != nil {
		t.Fatal(err)
	}
	if status, err := ask(t, e); status != http.StatusTeapot {
		t.Errorf("%d, %v", status, err)
	}
}

// TestRedirects checks that the token is not sent to the target of a redirect.
func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{other.URL, "/elsewhere"} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("a redirect was followed")
				}
				http.Redirect(w, r, to, status)
			}))
			e, err := Parse(server.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ask(t, e); err == nil || !strings.Contains(err.Error(), "redirects, which is not followed") {
				t.Errorf("%d to %s: %v", status, to, err)
			}
			server.Close()
		}
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer server.Close()
	server.Config.ErrorLog = nil
	dir := t.TempDir()
	ca, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Parse(server.URL, ca)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := ask(t, e); status != http.StatusTeapot {
		t.Errorf("%d, %v", status, err)
	}
	if e, err = Parse(server.URL, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, e); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	for _, file := range []string{empty, filepath.Join(dir, "missing.pem")} {
		if _, err := Parse(server.URL, file); err == nil {
			t.Errorf("%s is taken for authorities", file)
		}
	}
}

// TestLocal checks that local commands use the socket, and the address only if it stays on the
// machine.
func TestLocal(t *testing.T) {
	answer := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	server := httptest.NewServer(answer(http.StatusTeapot))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	over := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer(http.StatusAccepted)}}
	over.Start()
	missing := filepath.Join(t.TempDir(), "admin.sock")
	for _, test := range []struct {
		socket, listen string
		encrypted      bool
		status         int
		problem        string
	}{
		{socket, u.Host, false, http.StatusAccepted, ""},
		{socket, "192.0.2.7:9464", false, http.StatusAccepted, ""},
		{missing, u.Host, false, http.StatusTeapot, ""},
		{missing, "0.0.0.0:" + u.Port(), false, http.StatusTeapot, ""},
		{"", ":" + u.Port(), false, http.StatusTeapot, ""},
		{missing, u.Host, true, 0, "no such file"},
		{missing, "192.0.2.7:9464", false, 0, "no such file"},
		{"", u.Host, true, 0, "--admin https://"},
		{"", "192.0.2.7:9464", false, 0, "--admin https://"},
	} {
		name := fmt.Sprintf("socket %q, listen %s, TLS %t", filepath.Base(test.socket), test.listen, test.encrypted)
		e, err := Local(test.socket, test.listen, test.encrypted)
		status := 0
		if err == nil {
			status, err = ask(t, e)
		}
		if status != test.status || (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	over.Close()
}

// TestRefusal checks that the user sees the server's reason, whichever handler has responded.
func TestRefusal(t *testing.T) {
	encrypted := httptest.NewUnstartedServer(nil)
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	defer encrypted.Close()
	answer := func(status int, body string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, status) }))
		t.Cleanup(s.Close)
		return s
	}
	for url, want := range map[string]string{
		"http://" + encrypted.Listener.Addr().String():                "400 Bad Request: Client sent an HTTP request to an HTTPS server.",
		answer(404, `{"error": "no such drain"}`).URL:                 "no such drain",
		answer(421, "this request is for another host").URL:           "421 Misdirected Request: this request is for another host",
		answer(502, "").URL:                                           "502 Bad Gateway",
		answer(503, "<html>"+strings.Repeat("x", 1000)+"</html>").URL: "503 Service Unavailable",
	} {
		e, err := Parse(url, "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Client.Get(e.URL + "/api/v1/drains")
		if err != nil {
			t.Fatal(err)
		}
		if got := Refusal(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.Body.Close()
	}
}
