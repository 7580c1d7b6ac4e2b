package pipeline

import "time"

// keeping is how long the stream keeps a segment, and how long before that a drain's worker gives
// it up, so that it can read it once more and say exactly what is missing. By the age of a segment:
//
//	retention - margin       it is given up, when its worker looks
//	retention - margin*3/4   its worker looks: not at every segment by itself
//	retention - margin/2     a write that hangs is aborted for it
//	retention - margin/4     one that nobody has looked at yet is taken for lost
//	retention                the stream removes it
type keeping struct{ retention, margin time.Duration }

// marginMost bounds the margin, which is a tenth of the retention otherwise.
const marginMost = 24 * time.Hour

func keepingOf(o RouterOptions) keeping {
	k := keeping{o.Bus.Retention(), o.Margin}
	if k.margin == 0 {
		k.margin = min(k.retention/10, marginMost)
	}
	return k
}

// givenUp is the time at which the segments were published, or earlier, that are given up now.
func (k keeping) givenUp(now time.Time) time.Time { return now.Add(k.margin - k.retention) }

// giveUpAt is when the worker looks for a segment that was published at a time.
func (k keeping) giveUpAt(at time.Time) time.Time { return at.Add(k.retention - k.margin*3/4) }

// abortAfter is when a write is aborted whose first segment is due to be given up.
func (k keeping) abortAfter(due time.Time) time.Time { return due.Add(k.margin / 4) }

// safeAt is until when nothing can have been removed unseen of what was published at a time or
// later.
func (k keeping) safeAt(at time.Time) time.Time { return at.Add(k.retention - k.margin/4) }

// safeAfter is the same where a segment is due to be given up at a time.
func (k keeping) safeAfter(due time.Time) time.Time { return due.Add(k.margin / 2) }

// often is how often that is noted where nothing else happens.
func (k keeping) often() time.Duration { return k.margin / 8 }
