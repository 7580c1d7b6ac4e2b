package sinks_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// tunnels serves CONNECT by tunnels, and counts them.
func tunnels(t *testing.T, count *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			t.Errorf("%s came to the proxy", r.Method)
			return
		}
		count.Add(1)
		drain, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer drain.Close()
		client, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { io.Copy(drain, buffered); drain.Close() })
		both.Go(func() { io.Copy(client, drain); client.Close() })
		both.Wait()
	}
}

// TestProxySetting reaches a drain through proxies that are settings. The name, the authority and
// the client certificate that are for the drain are never for the proxy, and the other way round.
func TestProxySetting(t *testing.T) {
	drainAuthority, proxyAuthority := sinktest.NewAuthority(t), sinktest.NewAuthority(t)
	drain := server(t, drainAuthority, nil, hour(), "drain.example.com")
	trusting := sinks.TLS{CAFile: drainAuthority.File, ServerName: "drain.example.com"}

	var count atomic.Int32
	cert, key := proxyAuthority.Issue(t, hour(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(tunnels(t, &count))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 || state.ServerName != "" { // an address is no server name
				t.Errorf("the proxy got the server name %q and %d certificates", state.ServerName, len(state.PeerCertificates))
			}
			return nil
		}}
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(tunnels(t, &count))
	defer plain.Close()
	clientCert, clientKey := drainAuthority.Issue(t, hour())
	withClient := trusting
	withClient.CertFile, withClient.KeyFile = clientCert, clientKey

	for name, test := range map[string]struct {
		tls   sinks.TLS
		proxy sinks.Proxy
		want  string // of the error; "" for none
	}{
		"plain":                     {trusting, sinks.Proxy{URL: plain.URL}, ""},
		"TLS":                       {trusting, sinks.Proxy{URL: secure.URL, CAFile: proxyAuthority.File}, ""},
		"TLS, client certificate":   {withClient, sinks.Proxy{URL: secure.URL, CAFile: proxyAuthority.File}, ""},
		"TLS, the drain's CA":       {trusting, sinks.Proxy{URL: secure.URL, CAFile: drainAuthority.File}, "the proxy's certificate is signed by an authority that is not trusted"},
		"TLS, the system's CAs":     {trusting, sinks.Proxy{URL: secure.URL}, "set ca_file of proxy"},
		"TLS to a plain proxy":      {trusting, sinks.Proxy{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, "the TLS handshake with the proxy failed"},
		"the drain's CA is unknown": {sinks.TLS{ServerName: "drain.example.com"}, sinks.Proxy{URL: plain.URL}, "the drain's certificate"},
	} {
		transport, err := sinks.NewTransport(sinks.TransportOptions{TLS: test.tls, Proxy: test.proxy, Timeout: time.Minute})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := count.Load()
		_, err = get(t, transport, drain.URL)
		transport.Close()
		if test.want == "" {
			if err != nil || count.Load() != before+1 {
				t.Errorf("%s: %v, %d tunnels", name, err, count.Load()-before)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: the request succeeded", name)
			continue
		}
		e := sinks.TransportError(t.Context(), "send", err)
		sinktest.CheckAdvice(t, e)
		if e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), test.want) {
			t.Errorf("%s: %v, want …%s…", name, e, test.want)
		}
	}
	for _, bad := range []sinks.Proxy{{URL: "http://u:s3cr3t@[bad"}, {URL: "s3cr3t"}, {URL: secure.URL, CAFile: "missing.pem"}} {
		if _, err := sinks.NewTransport(sinks.TransportOptions{Proxy: bad}); err == nil || strings.Contains(err.Error(), "s3cr3t") || !strings.HasPrefix(err.Error(), "proxy.") {
			t.Errorf("%v", err)
		}
	}
}

// TestProxyNone is run by TestNoProxy, with a proxy in its environment.
func TestProxyNone(t *testing.T) {
	if os.Getenv(proxyVariable) == "" {
		t.Skip("is run by TestNoProxy")
	}
	for _, none := range []bool{false, true} {
		transport, err := sinks.NewTransport(sinks.TransportOptions{Proxy: sinks.Proxy{None: none}, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		_, err = get(t, transport, "https://drain.invalid/")
		transport.Close()
		if err == nil {
			t.Fatal("the request succeeded")
		}
		e := sinks.TransportError(t.Context(), "send", err)
		if asked := strings.Contains(e.Message(), "the proxy does not permit"); asked == none {
			t.Errorf("none is %v: %v", none, e)
		}
	}
}

// TestNoProxy: a drain that sets its proxy to none asks that of the environment for nothing.
func TestNoProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyNone$", "-test.v")
	self.Env = append(os.Environ(), proxyVariable+"=1", "HTTPS_PROXY="+proxy.URL, "https_proxy=", "NO_PROXY=", "no_proxy=")
	if output, err := self.CombinedOutput(); err != nil || !strings.Contains(string(output), "--- PASS: TestProxyNone") || asked.Load() != 1 {
		t.Errorf("%v, the proxy was asked %d times\n%s", err, asked.Load(), output)
	}
}
