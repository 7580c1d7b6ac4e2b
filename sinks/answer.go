package sinks

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Identity is the value of the header Accept-Encoding by which sinks ask for answers that are not
// compressed.
const Identity = "identity"

// ErrEncoding is the error of reading an answer in an encoding that was not asked for.
var ErrEncoding = errors.New("the answer is compressed, although none was asked for")

// decompressed returns an answer whose body is not compressed: proxies compress answers although a
// request says Accept-Encoding: identity. Of an encoding that is not gzip, reading the body fails
// with [ErrEncoding].
func decompressed(response *http.Response) {
	encoding := strings.ToLower(strings.TrimSpace(response.Header.Get("Content-Encoding")))
	if encoding == "" || encoding == Identity || response.Body == http.NoBody {
		return
	}
	body := &encodedBody{ReadCloser: response.Body}
	if encoding != "gzip" && encoding != "x-gzip" {
		body.err = ErrEncoding
	}
	response.Body = body
	response.Header.Del("Content-Encoding")
	response.Header.Del("Content-Length")
	response.ContentLength, response.Uncompressed = -1, true
}

// An encodedBody decompresses a body while it is read. It is for one goroutine.
type encodedBody struct {
	io.ReadCloser
	gzip *gzip.Reader // nil until the first read
	err  error        // of all reads from now on, or nil
}

func (b *encodedBody) Read(p []byte) (int, error) {
	if b.err == nil && b.gzip == nil {
		b.gzip, b.err = gzip.NewReader(b.ReadCloser)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.gzip.Read(p)
}

const (
	// drainBytes bounds how much of an answer is read, and thrown away, so that its connection can be
	// used again. A longer one costs the connection.
	drainBytes = 64 << 10
	// drainTime bounds how long that takes. An answer without a length goes on until its connection
	// ends, which may be never.
	drainTime = time.Second
)

// Drain reads the rest of an answer of which only the status counts, and closes it. It takes
// bounded time.
func Drain(response *http.Response) {
	if response.Body == http.NoBody {
		return
	}
	// Closing the body ends a read of it.
	late := time.AfterFunc(drainTime, func() { response.Body.Close() })
	_, _ = io.CopyN(io.Discard, response.Body, drainBytes)
	late.Stop()
	response.Body.Close()
}
