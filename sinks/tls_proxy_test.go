package sinks_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// proxyVariable is set for a run of this test program with a proxy in its environment, which
// net/http reads once.
const proxyVariable = "TTYDRAIN_TEST_PROXY"

// TestBehindProxy is run by TestProxy.
func TestBehindProxy(t *testing.T) {
	if os.Getenv(proxyVariable) == "" {
		t.Skip("is run by TestProxy")
	}
	transport, err := sinks.TLS{}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, err = get(t, transport, "https://drain.example.com/")
	if err == nil {
		t.Fatal("the request succeeded")
	}
	e := sinks.TransportError(t.Context(), "send", err)
	t.Logf("%v | %v", e.Verdict, e)
}

func TestProxy(t *testing.T) {
	var status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "drain.example.com:443" {
			t.Errorf("%s %s", r.Method, r.Host)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	with := strings.Replace(server.URL, "http://", "http://user:s3cr3t@", 1)
	for _, c := range []struct {
		status int32
		want   string
	}{
		{407, "misconfigured | send: the proxy refuses the credentials: correct the user and password in HTTPS_PROXY"},
		{403, "misconfigured | send: the proxy does not permit this drain"},
		{502, "retry | send: the proxy has no connection to the drain"},
	} {
		status.Store(c.status)
		self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBehindProxy$", "-test.v")
		self.Env = append(os.Environ(), proxyVariable+"=1", "HTTPS_PROXY="+with, "https_proxy=", "NO_PROXY=", "no_proxy=")
		output, err := self.CombinedOutput()
		if err != nil || !strings.Contains(string(output), c.want) || strings.Contains(string(output), "s3cr3t") {
			t.Errorf("%d: %v, want …%s…\n%s", c.status, err, c.want, output)
		}
	}
}
