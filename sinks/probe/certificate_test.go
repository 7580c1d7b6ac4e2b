package probe

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestValidity(t *testing.T) {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		left time.Duration
		want string
	}{
		{9*24*time.Hour + time.Hour, "9 days left"},
		{25 * time.Hour, "1 day left"},
		{time.Hour, "less than a day left"},
		{-time.Hour, "expired less than a day ago"},
		{-25 * time.Hour, "expired yesterday"},
		{-49 * time.Hour, "expired 2 days ago"},
		{-10*24*time.Hour - time.Hour, "expired 10 days ago"},
	} {
		if got := (Certificate{DaysLeft: daysLeft(test.left)}).Validity(); got != test.want {
			t.Errorf("%s: %q, want %q", test.left, got, test.want)
		}
	}
	expired := &x509.Certificate{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-25 * time.Hour)}
	if got, want := Invalid(expired, now), "expired yesterday, on 2026-03-13"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	early := &x509.Certificate{NotBefore: now.Add(time.Hour), NotAfter: now.Add(48 * time.Hour)}
	if got, want := Invalid(early, now), "is valid only from 2026-03-14 13:00:00 UTC on"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
