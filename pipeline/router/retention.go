package router

import "time"

// retention holds the time for which LOGS keeps a segment, and the margin before its removal at
// which a worker abandons it, so that it can read the segment once more and save exactly which
// records are missing.
// By the age of a segment:
//
//	period - margin       the segment may be abandoned
//	period - margin*3/4   the retention deadline: the worker abandons all segments that may be
//	period - margin/2     a write that hangs is aborted
//	period - margin/4     a segment that no worker has examined counts as lost
//	period                the stream removes it
type retention struct{ period, margin time.Duration }

// maxMargin bounds the default margin, which is a tenth of the period.
const maxMargin = 24 * time.Hour

// newRetention returns the retention of a stream that keeps messages for period. A margin of 0
// means the default.
func newRetention(period, margin time.Duration) retention {
	if margin == 0 {
		margin = min(period/10, maxMargin)
	}
	return retention{period, margin}
}

// abandonBefore returns the latest publishing time of the segments that may be abandoned now.
func (r retention) abandonBefore(now time.Time) time.Time { return now.Add(r.margin - r.period) }

// deadline returns the retention deadline of a segment that was published at a time.
func (r retention) deadline(published time.Time) time.Time {
	return published.Add(r.period - r.margin*3/4)
}

// abortAt returns when a write is aborted whose first segment has a retention deadline.
func (r retention) abortAt(deadline time.Time) time.Time { return deadline.Add(r.margin / 4) }

// safeUntil returns until when no segment that was published at a time, or later, can have been
// removed unexamined.
func (r retention) safeUntil(published time.Time) time.Time {
	return published.Add(r.period - r.margin/4)
}

// safeUntilAfter returns the same for a segment with a retention deadline.
func (r retention) safeUntilAfter(deadline time.Time) time.Time { return deadline.Add(r.margin / 2) }

// saveInterval returns the interval at which an idle worker saves until when its position is safe.
func (r retention) saveInterval() time.Duration { return r.margin / 8 }
