package main

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
)

// lockedBuffer is a buffer for concurrent writes.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestUnexpectedAnswers has a drain send an answer that nobody asked for: net/http reports it
// to the standard logger, with its first bytes, which the log must not have.
func TestUnexpectedAnswers(t *testing.T) {
	var logged lockedBuffer
	before, flags := log.Writer(), log.Flags()
	useLog(slog.New(slog.NewJSONHandler(&logged, nil)))
	defer func() {
		log.SetOutput(before)
		log.SetFlags(flags)
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	answered := make(chan net.Conn, 1)
	go func() { // ends with the connection
		c, err := listener.Accept()
		if err != nil {
			return
		}
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		answered <- c
	}()
	response, err := http.Post("http://"+listener.Addr().String(), "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	c := <-answered
	defer c.Close()
	waittest.Until(t, "net/http reports the answer", func() bool {
		io.WriteString(c, "s3cr3t session content\r\n")
		return logged.String() != ""
	})
	if text := logged.String(); strings.Contains(text, "s3cr3t") || !strings.Contains(text, `"message":"Unsolicited response received on idle HTTP channel starting with …"`) {
		t.Errorf("the log has %q", text)
	}
}

func TestWithoutQuotes(t *testing.T) {
	for message, want := range map[string]string{
		"http: Accept error: accept tcp 127.0.0.1:1: too many open files; retrying in 5ms\n": "http: Accept error: accept tcp 127.0.0.1:1: too many open files; retrying in 5ms",
		"starting with \"abc\"; err=x":    "starting with …",
		"one\ntwo":                        "one …",
		"with \x1b escape":                "with ? escape",
		strings.Repeat("a", 200):          strings.Repeat("a", maxLibraryMessage) + "…",
		"protocols ([\"abc\"]) supported": "protocols …",
	} {
		if got := withoutQuotes(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
