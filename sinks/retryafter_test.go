package sinks

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"0", "", 0},
		{"7", "", 7 * time.Second},
		{" 120 ", "", 2 * time.Minute},
		{"3600", "", time.Hour},
		{"3601", "", MaxRetryAfter},
		{"86401", "", MaxRetryAfter},
		{"99999999999999999999", "", MaxRetryAfter},
		{"-1", "", 0},
		{"+1", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"Sat, 14 Mar 2026 15:10:26 GMT", "", time.Minute},
		{"Saturday, 14-Mar-26 15:09:36 GMT", "", 10 * time.Second},
		{"Sat Mar 14 15:09:27 2026", "", time.Second},
		{"Sat, 14 Mar 2026 15:09:25 GMT", "", 0},
		{"Mon, 14 Mar 2050 15:09:25 GMT", "", MaxRetryAfter},
		// The drain's clock is three hours ahead, or a year behind.
		{"Sat, 14 Mar 2026 18:10:26 GMT", "Sat, 14 Mar 2026 18:09:56 GMT", 30 * time.Second},
		{"Fri, 14 Mar 2025 15:10:00 GMT", "Fri, 14 Mar 2025 15:09:00 GMT", time.Minute},
		{"Fri, 14 Mar 2025 15:08:00 GMT", "Fri, 14 Mar 2025 15:09:00 GMT", 0},
		{"Sat, 14 Mar 2026 15:10:26 GMT", "nonsense", time.Minute},
		{"7", "Fri, 14 Mar 2025 15:09:00 GMT", 7 * time.Second},
	} {
		header := http.Header{}
		header.Set("Retry-After", c.value)
		if c.date != "" {
			header.Set("Date", c.date)
		}
		if got := RetryAfter(header, now); got != c.want {
			t.Errorf("%q at %q: %v, want %v", c.value, c.date, got, c.want)
		}
	}
	if got := RetryAfter(http.Header{}, now); got != 0 {
		t.Errorf("without a header: %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, seed := range []string{"", "0", "7", "-1", "99999999999999999999", "Sat, 14 Mar 2026 15:10:26 GMT", "Saturday, 14-Mar-26 15:09:36 GMT",
		"Sat Mar 14 15:09:27 2026", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "\x00", "٣"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		header := http.Header{"Retry-After": {value}, "Date": {date}}
		got := RetryAfter(header, now)
		if got < 0 || got > MaxRetryAfter {
			t.Fatalf("%q at %q: %v", value, date, got)
		}
	})
}
