package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

var (
	entryAddress = regexp.MustCompile(`https?://([^/\]"]+)`)
	entryCAFile  = regexp.MustCompile(`ca_file: "([^"]+)"`)
)

// A wire is a proxy between a drain and its server that simulates network faults. Syslog drains
// have none: the kernel of the proxy acknowledges data that the proxy then drops, which no network
// does.
type wire struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// newWire puts a proxy in front of the server of an HTTPS or Elasticsearch drain.
func newWire(t testing.TB, d *destination) *wire {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	w := &wire{t, toxiproxy.NewProxy(server, d.name, "127.0.0.1:0", entryAddress.FindStringSubmatch(d.entry)[1])}
	w.connect()
	t.Cleanup(w.proxy.Stop)
	d.entry = strings.Replace(d.entry, w.proxy.Upstream, w.proxy.Listen, 1)
	return w
}

func (w *wire) connect() {
	w.t.Helper()
	if err := w.proxy.Start(); err != nil {
		w.t.Fatal(err)
	}
}

// poison adds a toxic, in toxiproxy's JSON. Its name is stream, "upstream" or "downstream".
func (w *wire) poison(stream, kind, attributes string) {
	w.t.Helper()
	toxic := `{"name": "` + stream + `", "stream": "` + stream + `", "type": "` + kind + `", "attributes": {` + attributes + `}}`
	if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		w.t.Fatal(err)
	}
}

// heal removes toxics.
func (w *wire) heal(streams ...string) {
	w.t.Helper()
	for _, stream := range streams {
		if err := w.proxy.Toxics.RemoveToxic(context.Background(), stream); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A gate is an HTTPS server in front of a receiver that sends wrong answers, or shows a wrong
// certificate.
type gate struct {
	t         testing.TB
	authority *sinktest.Authority
	server    *httptest.Server
	receiver  *httputil.ReverseProxy

	mu          sync.Mutex // guards what follows
	certificate *tls.Certificate
	clients     *x509.CertPool                         // whose certificates it requires; nil for none
	refuse      func(http.ResponseWriter, []byte) bool // nil forwards all requests
	refused     int                                    // requests
}

// A certificateAge is the validity of a certificate.
type certificateAge bool

const (
	valid   certificateAge = true
	expired certificateAge = false
)

func (a certificateAge) until() time.Time {
	if a == expired {
		return time.Now().Add(-time.Hour)
	}
	return time.Now().Add(time.Hour)
}

// newGate puts a gate in front of the receiver of an HTTPS drain. It forwards everything.
func newGate(t testing.TB, authority *sinktest.Authority, d *destination) *gate {
	t.Helper()
	address, caFile := entryAddress.FindStringSubmatch(d.entry)[1], entryCAFile.FindStringSubmatch(d.entry)[1]
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	quiet := log.New(io.Discard, "", 0)
	g := &gate{t: t, authority: authority, receiver: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: address}) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		ErrorLog:  quiet,
	}}
	g.server = httptest.NewUnstartedServer(g)
	g.server.Config.ErrorLog = quiet
	g.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		config := &tls.Config{Certificates: []tls.Certificate{*g.certificate}}
		if g.clients != nil {
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, g.clients
		}
		return config, nil
	}}
	g.present(valid, "127.0.0.1")
	g.server.StartTLS()
	t.Cleanup(g.server.Close)
	d.entry = strings.Replace(d.entry, address, g.server.Listener.Addr().String(), 1)
	d.entry = strings.Replace(d.entry, caFile, authority.File, 1)
	return g
}

// present makes the gate show a certificate of that age and for that host, on new connections,
// which all connections are from now on.
func (g *gate) present(age certificateAge, host string) {
	g.t.Helper()
	pair, err := tls.LoadX509KeyPair(g.authority.Issue(g.t, age.until(), host))
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.certificate = &pair
	g.mu.Unlock()
	if g.server.Listener != nil && g.server.URL != "" {
		g.server.CloseClientConnections()
	}
}

// rely replaces the authority of the certificate of the gate, and of those that it requires of
// clients.
func (g *gate) rely(authority *sinktest.Authority) {
	g.t.Helper()
	g.mu.Lock()
	g.authority, g.clients = authority, authority.Pool
	g.mu.Unlock()
	g.present(valid, "127.0.0.1")
}

// answer makes the gate refuse requests for which refuse writes an answer; nil refuses none.
func (g *gate) answer(refuse func(w http.ResponseWriter, body []byte) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse = refuse
}

// refusals returns the number of requests that the gate has refused.
func (g *gate) refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the drain has gone away
	}
	g.mu.Lock()
	refused := g.refuse != nil && g.refuse(w, body)
	if refused {
		g.refused++
	}
	g.mu.Unlock()
	if !refused {
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.receiver.ServeHTTP(w, r)
	}
}

// always refuses every request with a status, and with the header "name: value" if there is one.
func always(status int, header ...string) func(http.ResponseWriter, []byte) bool {
	return func(w http.ResponseWriter, body []byte) bool {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		w.Write(body) // an answer that echoes the request: nothing of it may be reported
		return true
	}
}
