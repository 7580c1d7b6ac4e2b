// Package timeflag parses points in time on command lines. All flags of that kind have the same
// syntax:
//
//	24h, 90m, 7d           a duration before now
//	2026-01-31             the beginning of a day, in the local time zone
//	2026-01-31 09:30:00    a local time
//	2026-01-31T09:30:00Z   RFC 3339, as the output of commands shows times
package timeflag

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Usage describes the syntax, for the help of a flag.
const Usage = "24h or 7d before now, 2026-01-31 or 2026-01-31T09:30:00Z"

var errSyntax = errors.New("expected a time such as 2026-01-31T09:30:00Z, a date such as 2026-01-31, or a duration before now such as 24h or 7d")

// Parse returns the time that a text stands for at the time now. Its location is the local time
// zone.
func Parse(text string, now time.Time) (time.Time, error) {
	if ago, ok := duration(text); ok {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errSyntax
}

// duration parses a duration, also in days.
func duration(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		const maxDays = 36500 // far less than the longest duration
		n, err := strconv.ParseUint(days, 10, 32)
		return time.Duration(n) * 24 * time.Hour, err == nil && n <= maxDays
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// Value is the value of a flag. Its Time is zero until the flag is set.
type Value struct {
	time.Time
	text string
}

// Set implements [flag.Value].
func (v *Value) Set(text string) error {
	at, err := Parse(text, time.Now())
	if err != nil {
		return err
	}
	v.Time, v.text = at, text
	return nil
}

// String returns the text of the flag.
func (v *Value) String() string { return v.text }

// Type implements pflag's Value.
func (v *Value) Type() string { return "time" }

// A Range is a range of time: two flags, each of which may be left out.
type Range struct {
	Since Value // included
	Until Value // excluded
}

// Check returns an error if no time is in the range.
func (r *Range) Check() error {
	if !r.Since.IsZero() && !r.Until.IsZero() && !r.Since.Before(r.Until.Time) {
		return fmt.Errorf("--since %s is not before --until %s", r.Since.text, r.Until.text)
	}
	return nil
}

// Format formats a time for the output of a command, in the local time zone and with its offset:
// such as 2026-01-31T09:30:00+01:00, or 2026-01-31T08:30:00Z. [Parse] reads it. It returns "" for
// none.
func Format(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}
