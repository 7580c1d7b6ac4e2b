package sinks_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// A whole is a body in memory that knows whether it was taken as it is.
type whole struct {
	*bytes.Reader
	taken bool
}

func (w *whole) WriteTo(to io.Writer) (int64, error) {
	w.taken = w.taken || w.Len() > 0 // net/http looks whether anything is left
	return w.Reader.WriteTo(to)
}

// A counting listener counts what comes to its connections, encrypted.
type counting struct {
	net.Listener
	came *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.came}, err
}

type countingConn struct {
	net.Conn
	came *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.came.Add(int64(n))
	return n, err
}

// TestBodyAsItIs: bodies of all sizes arrive as they are, over one connection, from memory as well
// as from elsewhere. Those in memory are taken as they are, and nothing is sent of one that is
// longer than its length says.
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
	var came atomic.Int64
	s.Listener = counting{s.Listener, &came}
	s.StartTLS()
	defer s.Close()
	transport, err := sinks.TLS{CAFile: a.File}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	for _, size := range []int{1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 256 << 10, 1<<20 + 1} {
		body := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		memory := &whole{Reader: bytes.NewReader(body)}
		for name, r := range map[string]io.Reader{"memory": memory, "elsewhere": io.MultiReader(bytes.NewReader(body))} {
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
		if !memory.taken {
			t.Errorf("%d bytes in memory were copied piece by piece", size)
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
	before := came.Load()
	if answer, err := transport.RoundTrip(request); err == nil {
		answer.Body.Close()
		t.Error("a body that is longer than its length says was sent")
	}
	transport.Close()
	s.Close() // when all that came has been read
	if n := came.Load() - before; n >= 100<<10 {
		t.Errorf("%d bytes came of a body that is longer than its length says", n)
	}
}
