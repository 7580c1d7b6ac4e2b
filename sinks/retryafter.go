package sinks

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds every Retry-After: a mistake in a header must not suspend a drain for long.
const MaxRetryAfter = time.Hour

// RetryAfter returns the pause that a response asks for (Retry-After, RFC 9110 §10.2.3): a number
// of seconds, or a date, which is read against the response's own Date so that the clocks of both
// sides do not matter, or against now where the response has none. It is between 0 and
// [MaxRetryAfter], and 0 for an invalid value or a date in the past.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) { // out of range, so very long
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(strings.TrimSpace(header.Get("Date"))); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), MaxRetryAfter)
}
