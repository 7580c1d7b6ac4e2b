package https

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// TestRetryAfterClock holds that a date is compared with the clock.
func TestRetryAfterClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)}}}
		if got := judge("drain", answer).RetryAfter; got != 90*time.Second {
			t.Errorf("%v, want 90s", got)
		}
		time.Sleep(30 * time.Second)
		if got := judge("drain", answer).RetryAfter; got != time.Minute {
			t.Errorf("after 30s: %v, want 1m", got)
		}
	})
}

func TestAdvice(t *testing.T) {
	for status := 200; status < 600; status++ {
		if e := judge("drain.example.com", &http.Response{StatusCode: status, Header: http.Header{}}); e != nil {
			sinktest.CheckAdvice(t, e)
		} else if status >= 300 {
			t.Errorf("%d is a success", status)
		}
	}
}
