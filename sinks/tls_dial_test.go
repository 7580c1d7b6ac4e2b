package sinks_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// TestBodyAsItIs: bodies of all sizes arrive as they are, over one connection, from memory as well as from elsewhere.
func TestBodyAsItIs(t *testing.T) {
	a := sinktest.NewAuthority(t)
	cert, key := a.Issue(t, hour(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	from := make(map[string]bool) // guarded by mu
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		body, _ := io.ReadAll(r.Body) // what is missing the client sees
		w.Write(body)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	transport, err := sinks.TLS{CAFile: a.File}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	for _, size := range []int{1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 256 << 10, 1<<20 + 1} {
		body := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		for name, r := range map[string]io.Reader{"memory": bytes.NewReader(body), "elsewhere": io.MultiReader(bytes.NewReader(body))} {
			request, err := http.NewRequest(http.MethodPost, s.URL, r)
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = int64(size)
			answer, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("of %d bytes from %s, %d came (%v)", size, name, len(got), err)
			}
		}
	}
	mu.Lock()
	if len(from) != 1 {
		t.Errorf("%d connections", len(from))
	}
	mu.Unlock()
	request, err := http.NewRequest(http.MethodPost, s.URL, bytes.NewReader(make([]byte, 256<<10)))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 100 << 10
	if answer, err := transport.RoundTrip(request); err == nil {
		answer.Body.Close()
		t.Error("a body that is longer than its length says was sent")
	}
}
