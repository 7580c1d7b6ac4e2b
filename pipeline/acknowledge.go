package pipeline

import (
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// An action is what a worker does with entries that a sink did not deliver.
type action uint8

const (
	actRetry      action = iota // wait, and write them again, in place
	actRetrySlow                // the same, with long waits, and tell the operators: the drain's settings are wrong
	actHalve                    // write each half by itself, down to one entry
	actDeadLetter               // keep the entry for people to look at, and go on
	actStop                     // write nothing more until an operator resumes the drain, or its settings change
)

const (
	// The waits between the tries of a drain that should come back by itself.
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
	// The waits between the tries of one that somebody must see to.
	slowFirst = 5 * time.Second
	slowMost  = 2 * time.Minute
)

// acknowledge is the table of acknowledgement: what the verdict on n entries leads to. A batch that was delivered
// needs no entry here: its position is kept.
//
// Nothing in it drops: what is retried is retried, and what is left waits, for as long as the stream keeps it, and is
// a gap record then (gap.go); what a drain will never take becomes a dead letter, alone.
func acknowledge(v sinks.Verdict, n int) action {
	switch v {
	case sinks.Rejected, sinks.TooLarge:
		if n > 1 {
			return actHalve
		}
		return actDeadLetter
	case sinks.Misconfigured:
		return actRetrySlow
	case sinks.Gone:
		return actStop
	}
	return actRetry
}
