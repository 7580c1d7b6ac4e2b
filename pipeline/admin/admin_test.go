package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// server is a running server, and how it ends.
type server struct {
	url   string
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, ready func(context.Context) error) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "ttydrain_test_total", Help: "A test."})
	counter.Add(3)
	metrics.MustRegister(counter)
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{"http://" + l.Addr().String(), cancel, make(chan error, 1)}
	go func() { // ends with ctx
		s.ended <- Serve(ctx, l, Options{Ready: ready, Metrics: metrics, JWKS: func() ([]byte, error) { return []byte(`{"keys":[]}`), nil }})
	}()
	t.Cleanup(cancel)
	return s
}

func (s *server) do(t *testing.T, method, path string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestEndpoints(t *testing.T) {
	var broken atomic.Bool
	s := serve(t, func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > readyTimeout {
			return fmt.Errorf("a deadline of %s", deadline)
		}
		if broken.Load() {
			return errors.New("NATS JetStream does not answer")
		}
		return nil
	})
	for _, test := range []struct {
		method, path string
		broken       bool
		status       int
		kind, body   string // body is its content
	}{
		{"GET", "/healthz", false, 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/healthz", true, 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/readyz", false, 200, "text/plain; charset=utf-8", "ready\n"},
		{"GET", "/readyz", true, 503, "text/plain; charset=utf-8", "not ready: NATS JetStream does not answer\n"},
		{"HEAD", "/readyz", false, 200, "text/plain; charset=utf-8", ""},
		{"GET", "/metrics", false, 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "\nttydrain_test_total 3\n"},
		{"GET", "/.well-known/jwks.json", false, 200, "application/jwk-set+json", `{"keys":[]}`},
		{"POST", "/readyz", false, 405, "text/plain; charset=utf-8", "Method Not Allowed\n"},
		{"GET", "/", false, 404, "text/plain; charset=utf-8", "404 page not found\n"},
		{"GET", "/debug/pprof/", false, 404, "text/plain; charset=utf-8", "404 page not found\n"},
	} {
		broken.Store(test.broken)
		response, body := s.do(t, test.method, test.path)
		if response.StatusCode != test.status || response.Header.Get("Content-Type") != test.kind || !strings.Contains(body, test.body) {
			t.Errorf("%s %s: %s, %q, %q", test.method, test.path, response.Status, response.Header.Get("Content-Type"), body)
		}
	}
	response, _ := s.do(t, "GET", "/.well-known/jwks.json")
	if got := response.Header.Get("Cache-Control"); got != "public, max-age=300" {
		t.Errorf("the key set has Cache-Control %q", got)
	}
}

// TestStop checks that a request in progress is answered, and that the server then ends and accepts
// no more connections.
func TestStop(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s := serve(t, func(context.Context) error {
		close(asked)
		<-answer
		return nil
	})
	got := make(chan string, 1)
	go func() { // ends with the response
		response, err := http.Get(s.url + "/readyz")
		if err != nil {
			got <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		got <- fmt.Sprint(string(body), err)
	}()
	<-asked
	s.stop()
	select {
	case err := <-s.ended:
		t.Fatalf("ended before the request was answered: %v", err)
	default:
	}
	close(answer)
	if body := <-got; body != "ready\n<nil>" {
		t.Errorf("the request under way got %q", body)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := http.Get(s.url + "/healthz"); err == nil {
		t.Error("answered after its end")
	}
}

func TestStopBeforeServing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, l, Options{Metrics: prometheus.NewRegistry()}); err != nil {
		t.Errorf("%v", err)
	}
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

// TestListenerFails checks that a server that fails returns the reason and closes all connections.
func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // ends with l
		ended <- Serve(t.Context(), l, Options{Metrics: prometheus.NewRegistry()})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "serve the admin address") {
		t.Errorf("%v", err)
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection was left open: %v", err)
	}
}
