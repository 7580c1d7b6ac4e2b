package pipeline

import (
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// An action is what a worker does with entries that a sink did not deliver.
type action uint8

const (
	actRetry     action = iota // wait, and write them again, in place
	actRetrySlow               // the same with long waits, and tell the operators: the drain's settings are wrong
	actIsolate                 // find the record that is refused, by writing parts: see suspicion
	actSuspect                 // the same, once the failure has repeated: it most often passes
	actStop                    // write nothing more until an operator resumes the drain, or its settings change
)

const (
	// The waits between the tries of a drain that should come back by itself.
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
	// The waits between the tries of one that somebody must see to.
	slowFirst = 5 * time.Second
	slowMost  = 2 * time.Minute
)

// acknowledge is the table of acknowledgement: what a failed write leads to, of which item is the
// entry that decides. A batch that was delivered needs no entry here: its position is kept.
//
// Nothing in it drops: what is retried is retried, and what is left waits, for as long as the
// stream keeps it, and is a gap record then (gap.go). A record becomes a dead letter only alone,
// and only while the drain accepts others: see delivery.alone.
func acknowledge(e *sinks.Error, item sinks.Item) action {
	content := (&sinks.Error{Verdict: item.Verdict, Status: item.Status, Reached: e.Reached}).DependsOnContent()
	switch item.Verdict {
	case sinks.Gone:
		return actStop
	case sinks.Rejected, sinks.TooLarge:
		return actIsolate
	case sinks.Misconfigured:
		if content {
			return actIsolate
		}
		return actRetrySlow
	}
	if content {
		return actSuspect
	}
	return actRetry
}
