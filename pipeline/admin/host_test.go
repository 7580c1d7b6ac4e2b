package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestHosts checks that every path refuses requests for other hosts (DNS rebinding).
func TestHosts(t *testing.T) {
	certificate := newCertificate(t, "ttydrain.example.com", "192.0.2.50")
	var log bytes.Buffer
	o := &Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Hosts: []string{"ops.example.com", "192.0.2.7", "2001:db8::7"}, Certificate: certificate.load(t)}
	local := &net.TCPAddr{IP: net.ParseIP("::ffff:10.1.2.3"), Port: 9464}
	for _, test := range []struct {
		host  string
		local net.Addr
		tls   bool
		ok    bool
	}{
		{"127.0.0.1:9464", local, false, true},
		{"127.8.8.8", local, false, true},
		{"[::1]:9464", local, false, true},
		{"localhost:9464", local, false, true},
		{"LOCALHOST.", local, false, true},
		{"10.1.2.3:9464", local, false, true},
		{"10.1.2.4:9464", local, false, false},
		{"192.0.2.7:80", local, false, true},
		{"[2001:db8::7]", local, false, true},
		{"ops.example.com", local, false, true},
		{"OPS.example.com:9464", local, false, true},
		{"ops.example.com.evil.example", local, false, false},
		{"evil.example:9464", local, false, false},
		{"localhost.evil.example", local, false, false},
		{"127.0.0.1.evil.example", local, false, false},
		{"ttydrain.example.com", local, false, false},
		{"ttydrain.example.com", local, true, true},
		{"192.0.2.50", local, true, true},
		{"evil.example", local, true, false},
		{"", local, false, true},
		{"evil.example", &net.UnixAddr{Name: "/run/admin.sock", Net: "unix"}, false, true},
	} {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, test.local))
		if r.Host = test.host; test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if got := o.ownHost(r); got != test.ok {
			t.Errorf("Host %q over %s, TLS %t: %t", test.host, test.local.Network(), test.tls, got)
		}
	}
	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Host = "evil.example"
	guarded := o.guardHost(http.NotFoundHandler())
	for range 100 {
		guarded.ServeHTTP(httptest.NewRecorder(), request)
	}
	if lines := strings.Count(log.String(), "host=evil.example"); lines == 0 || lines > 20 {
		t.Errorf("%d log lines of 100 requests for another host:\n%s", lines, &log)
	}
	s := serve(t, func(context.Context) error { return nil })
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/api/v1/drains", "/console/", "/", "/nothing"} {
		for host, refused := range map[string]bool{"evil.example": true, "127.0.0.1": false} {
			request, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = host
			r, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if got := r.StatusCode == http.StatusMisdirectedRequest; got != refused || r.Header.Get("X-Content-Type-Options") == "" && refused {
				t.Errorf("%s for %s: %s", path, host, r.Status)
			}
		}
	}
}
