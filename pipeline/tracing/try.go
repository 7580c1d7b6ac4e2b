package tracing

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// Try is one attempt to write a batch to a drain. A nil Try records nothing.
type Try struct {
	span  *Span
	began time.Time

	mu      sync.Mutex // guards the fields below: connections' goroutines call the hooks
	encoded time.Time  // when the first request asked for a connection
	written time.Time  // when the last request was written
}

// Try starts an attempt. The batch must be written with the returned context: its
// [httptrace.ClientTrace] hooks record when the batch was encoded and when it was written.
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

// End ends the attempt with a result. The attempt has a child for each part that was completed:
// encode, from the beginning to the first request for a connection; write, including the connection
// setup, to the last byte of the last request; ack, to the drain's response. If the requests are
// sent one after the other, the encoding of the later ones and the responses to the earlier ones
// count as write.
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
