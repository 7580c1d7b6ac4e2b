package tracing

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// A Try is one try to write a batch to a drain. A nil Try tells nothing.
type Try struct {
	span  *Span
	began time.Time

	mu      sync.Mutex // guards what follows: the hooks are called from the connections' goroutines
	encoded time.Time  // when the first request asked for a connection
	written time.Time  // when the last one was written
}

// Try starts one, and the context in which the batch is written: by the hooks of
// [httptrace.ClientTrace] in it the try learns when the batch was encoded, and when it was written.
func (s *Span) Try(ctx context.Context) (context.Context, *Try) {
	if s == nil {
		return ctx, nil
	}
	now := time.Now()
	t := &Try{span: s.Child("try", now), began: now}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.encoded.IsZero() {
				t.encoded = time.Now()
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.written = time.Now()
		},
	}), t
}

// End ends the try with a result. Its parts are those that came to their end: encode, from the
// beginning to the first request for a connection; write, connecting included, to the last byte of
// the last request; ack, to the drain's word. Of requests one behind the other, the later ones'
// encoding, and the earlier ones' answers, are in write.
func (t *Try) End(result string) {
	if t == nil {
		return
	}
	now := time.Now()
	t.mu.Lock()
	encoded, written := t.encoded, t.written
	t.mu.Unlock()
	if !encoded.IsZero() {
		t.span.Child("encode", t.began).EndAt(OK, encoded)
		if written.IsZero() {
			t.span.Child("write", encoded).EndAt(result, now)
		} else {
			t.span.Child("write", encoded).EndAt(OK, written)
			t.span.Child("ack", written).EndAt(result, now)
		}
	}
	t.span.EndAt(result, now)
}
