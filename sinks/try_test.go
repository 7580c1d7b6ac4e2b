package sinks_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// getter is a sink whose Probe is a GET request.
type getter struct {
	transport *sinks.Transport
	url       string
}

func (g *getter) Probe(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return err
	}
	response, err := g.transport.RoundTrip(request)
	if err != nil {
		return sinks.TransportError(ctx, "get", err)
	}
	return response.Body.Close()
}

func (g *getter) Write(context.Context, []sinks.Entry) error { return nil }

func (g *getter) Close() error { return nil }

// TestStepsHostile checks a drain whose certificate has names that would disturb a terminal.
func TestStepsHostile(t *testing.T) {
	name := pkix.Name{CommonName: "evil\x1b[2J\u202e\u009b\n\rname" + strings.Repeat("x", 5000)}
	certFile, keyFile := sinktest.NewAuthority(t).Sign(t, &x509.Certificate{Subject: name, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a\x1b[2Jb"}})
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	defer server.Close()
	transport, err := sinks.TLS{}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	steps, ok := sinks.Try(t.Context(), &getter{transport, server.URL}, nil)
	if ok || len(steps) != 5 || steps[2].Result != probe.ResultFailed || len(steps[2].Certificates) != 1 || !strings.Contains(steps[2].Certificates[0].Subject, "evil") {
		t.Fatalf("the steps are %+v", steps)
	}
	data, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	var look func(any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				look(e)
			}
		case map[string]any:
			for _, e := range v {
				look(e)
			}
		case string:
			if strings.ContainsAny(v, "\x1b\u202e\u009b\n\r") || len(v) > 2000 {
				t.Errorf("a step has %d bytes: %q", len(v), v)
			}
		}
	}
	look(all)
}
