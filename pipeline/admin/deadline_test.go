package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A pipes is a listener for connections in memory, which use the test's time.
type pipes struct{ next chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.next
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error {
	close(p.next) // once, since net/http closes a listener once
	return nil
}
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464} }

// timed runs a test with a server's timeouts, but with other handlers; dial connects.
func timed(t *testing.T, handlers map[string]http.HandlerFunc, test func(t *testing.T, dial func(request string) net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Metrics: prometheus.NewRegistry(), Ready: func(context.Context) error { return nil }}
		server := o.server(t.Context())
		mux := http.NewServeMux()
		for pattern, handle := range handlers {
			mux.HandleFunc(pattern, handle)
		}
		server.Handler = http.MaxBytesHandler(mux, maxBody)
		p := pipes{make(chan net.Conn)}
		ended := make(chan struct{})
		go func() { // ends with p
			defer close(ended)
			server.Serve(p)
		}()
		test(t, func(request string) net.Conn {
			client, remote := net.Pipe()
			p.next <- remote
			go io.WriteString(client, request) // ends with the connection
			t.Cleanup(func() { client.Close() })
			return client
		})
		server.Close()
		<-ended
	})
}

// TestSlowRequests checks that clients that send slowly or nothing are disconnected, and that their
// bodies are not kept in memory.
func TestSlowRequests(t *testing.T) {
	var read error
	handlers := map[string]http.HandlerFunc{
		"POST /body": func(_ http.ResponseWriter, r *http.Request) { _, read = io.ReadAll(r.Body) },
		"GET /":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") },
	}
	post := "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
	for _, test := range []struct {
		name, request string
		within        time.Duration
		answer        string
	}{
		{"no request", "", headerTimeout, ""},
		{"half of a header", "GET / HTTP/1.1\r\nHost: x\r\nX-", headerTimeout, ""},
		{"half of a body", fmt.Sprintf(post, 10) + "half", requestTimeout, ""},
		{"no second request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout, "200 OK"},
		{"a header that is too long", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", maxHeader+4096) + "\r\n\r\n", headerTimeout, "431 "},
	} {
		read = nil
		timed(t, handlers, func(t *testing.T, dial func(string) net.Conn) {
			began := time.Now()
			c := dial(test.request)
			got, _ := io.ReadAll(c) // the end is what counts
			if took := time.Since(began); took > test.within+time.Second || !strings.Contains(string(got), test.answer) {
				t.Errorf("%s: the connection ended after %s with %q", test.name, took, got)
			}
		})
		if strings.Contains(test.name, "body") && read == nil {
			t.Errorf("%s: was read", test.name)
		}
	}
}

// TestSlowReaders checks that clients that do not read are disconnected, while a streamed response
// continues as long as it is read.
func TestSlowReaders(t *testing.T) {
	const hour = time.Hour
	var failed chan error // of the bubble
	big := strings.Repeat("x", 1<<20)
	handlers := map[string]http.HandlerFunc{
		"GET /big": func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.WriteString(w, big)
			failed <- err
		},
		"GET /stream": func(w http.ResponseWriter, r *http.Request) {
			s := stream(w)
			for range 60 {
				if _, err := io.WriteString(s, "more\n"); err != nil {
					failed <- err
					return
				}
				if err := s.FlushError(); err != nil {
					failed <- err
					return
				}
				time.Sleep(hour / 60)
			}
			failed <- r.Context().Err()
		},
		"POST /operation": func(w http.ResponseWriter, r *http.Request) {
			if err := readBody(r); err != nil {
				failed <- err
				return
			}
			extend(w)
			select {
			case <-r.Context().Done():
				failed <- context.Cause(r.Context())
			case <-time.After(operationTimeout - time.Second):
				_, err := io.WriteString(w, "done")
				failed <- err
			}
		},
	}
	get := "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	timed(t, handlers, func(t *testing.T, dial func(string) net.Conn) {
		failed = make(chan error, 1)
		began := time.Now()
		dial(fmt.Sprintf(get, "/big"))
		if err := <-failed; err == nil || time.Since(began) > responseTimeout+time.Second {
			t.Errorf("an answer that nobody reads: %v after %s", err, time.Since(began))
		}
		began = time.Now()
		dial(fmt.Sprintf(get, "/stream"))
		if err := <-failed; err == nil || time.Since(began) > 2*streamTimeout {
			t.Errorf("a stream that nobody reads: %v after %s", err, time.Since(began))
		}
		began = time.Now()
		lines := 0
		for scanner := bufio.NewScanner(dial(fmt.Sprintf(get, "/stream"))); scanner.Scan(); {
			if scanner.Text() == "more" {
				lines++
			}
		}
		if err := <-failed; err != nil || lines != 60 || time.Since(began) < hour {
			t.Errorf("a stream that is read: %d lines within %s, %v", lines, time.Since(began), err)
		}
		// An operation of the API may take longer than the timeout for receiving a request.
		got, err := io.ReadAll(dial("POST /operation HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"))
		if cause := <-failed; cause != nil || err != nil || !strings.HasSuffix(string(got), "done") {
			t.Errorf("a long operation: %v, %v, %q", cause, err, got)
		}
	})
}
