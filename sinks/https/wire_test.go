package https

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"
	"time"
)

// TestAnswerWithoutEnd has a drain that answers 200 and keeps the response open, without a length,
// until its client goes away. The headers are the response.
func TestAnswerWithoutEnd(t *testing.T) {
	for name, headers := range map[string]http.Header{
		"chunked": {},
		"close":   {"Connection": {"close"}},
	} {
		d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) {
			for key, values := range headers {
				w.Header()[key] = values
			}
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}})
		const timeout = time.Hour // what the response would be waited for
		s := d.sink(t, Options{Timeout: timeout, Format: NDJSON})
		for range 2 {
			if e := write(t, s, golden()); e != nil {
				t.Errorf("%s: %v", name, e)
			}
		}
		if n := len(d.posts()); n != 2 {
			t.Errorf("%s: %d requests came, want 2", name, n)
		}
	}
}

// TestAcceptEncoding asks for responses that are not compressed, and takes those that are
// compressed all the same.
func TestAcceptEncoding(t *testing.T) {
	d := newDrain(t, settings{answer: func(w http.ResponseWriter, r *http.Request) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write([]byte(`{"ok":true}`))
		z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	}})
	s := d.sink(t, Options{})
	if e := write(t, s, golden()); e != nil {
		t.Error(e)
	}
	for _, r := range d.posts() {
		if got := r.header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: %q", got)
		}
	}
}
