package https

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                 0,
		"0":                                0,
		"7":                                7 * time.Second,
		" 120 ":                            2 * time.Minute,
		"86401":                            maxRetryAfter,
		"99999999999999999999":             maxRetryAfter,
		"-1":                               0,
		"+1":                               0,
		"1.5":                              0,
		"soon":                             0,
		"Sat, 14 Mar 2026 15:10:26 GMT":    time.Minute,
		"Saturday, 14-Mar-26 15:09:36 GMT": 10 * time.Second,
		"Sat Mar 14 15:09:27 2026":         time.Second,
		"Sat, 14 Mar 2026 15:09:25 GMT":    0,
		"Mon, 14 Mar 2050 15:09:25 GMT":    maxRetryAfter,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

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

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, seed := range []string{"", "0", "7", "-1", "99999999999999999999", "Sat, 14 Mar 2026 15:10:26 GMT", "Saturday, 14-Mar-26 15:09:36 GMT", "Sat Mar 14 15:09:27 2026", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "\x00", "٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := retryAfter(value, now)
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q: %v", value, got)
		}
		if again := retryAfter(value, now); again != got {
			t.Fatalf("%q: %v, then %v", value, got, again)
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
