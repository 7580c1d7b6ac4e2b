package timeflag

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"24h":                       "2026-03-09T12:00:00+01:00",
		"1h30m":                     "2026-03-10T10:30:00+01:00",
		"0s":                        "2026-03-10T12:00:00+01:00",
		"7d":                        "2026-03-03T12:00:00+01:00",
		"2026-01-31":                "2026-01-31T00:00:00+01:00",
		"2026-01-31 09:30:00":       "2026-01-31T09:30:00+01:00",
		"2026-01-31T09:30:00Z":      "2026-01-31T09:30:00Z",
		"2026-01-31T09:30:00.5Z":    "2026-01-31T09:30:00.5Z",
		"2026-01-31T09:30:00-05:00": "2026-01-31T09:30:00-05:00",
	} {
		got, err := Parse(text, now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-1h", "1", "d", "-1d", "1.5d", "40000d", "2026-13-01", "2026-01-31T09:30", "31.01.2026", "24h "} {
		if got, err := Parse(text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestRange(t *testing.T) {
	for _, test := range []struct {
		since, until string
		ok           bool
	}{
		{"", "", true}, {"1h", "", true}, {"", "1h", true}, {"2h", "1h", true}, {"2026-01-01", "2026-01-02", true},
		{"1h", "2h", false}, {"2026-01-02", "2026-01-01", false}, {"2026-01-01", "2026-01-01", false},
	} {
		var r Range
		for text, v := range map[string]*Value{test.since: &r.Since, test.until: &r.Until} {
			if text == "" {
				continue
			}
			if err := v.Set(text); err != nil {
				t.Fatal(err)
			}
		}
		if test.since == test.until && test.since != "" {
			r.Since = r.Until
		}
		if err := r.Check(); (err == nil) != test.ok {
			t.Errorf("%s to %s: %v", test.since, test.until, err)
		}
	}
}

// TestFormat: what commands print has an offset, and is read back as the same time.
func TestFormat(t *testing.T) {
	at := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	got, err := Parse(Format(at), time.Now())
	if err != nil || !got.Equal(at) {
		t.Errorf("%q is read as %v, %v", Format(at), got, err)
	}
	if got := Format(time.Time{}); got != "" {
		t.Errorf("no time: %q", got)
	}
}

func TestValue(t *testing.T) {
	var v Value
	if !v.IsZero() || v.String() != "" {
		t.Errorf("at first: %v, %q", v.Time, v.String())
	}
	if err := v.Set("2026-01-31"); err != nil || v.IsZero() || v.String() != "2026-01-31" {
		t.Errorf("%v, %q, %v", v.Time, v.String(), err)
	}
	if err := v.Set("yesterday"); err == nil || v.String() != "2026-01-31" {
		t.Errorf("after an error: %q, %v", v.String(), err)
	}
}
