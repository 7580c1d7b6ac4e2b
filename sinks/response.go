package sinks

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Identity is the value of the Accept-Encoding header with which sinks request uncompressed
// responses.
const Identity = "identity"

// ErrEncoding is returned for a response with an encoding that was not requested.
var ErrEncoding = errors.New("the answer is compressed, although none was asked for")

// decompressed replaces the body of a compressed response: proxies compress answers even to
// requests with Accept-Encoding: identity. Reading an encoding other than gzip fails with
// [ErrEncoding].
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

// An encodedBody decompresses a body as it is read. It is for one goroutine.
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
	// drainBytes bounds how much of a response is read and discarded so that its connection can be
	// reused. A longer response costs the connection.
	drainBytes = 64 << 10
	// drainTime bounds the duration of that. A response without a length lasts until its connection
	// ends, which may be never.
	drainTime = time.Second
)

// Drain discards the rest of a response whose body is not needed, and closes it, within bounded
// time.
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
