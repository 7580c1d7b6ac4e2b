package router

import (
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// An answer does not show whether a drain refuses one record or everything: a firewall in front of
// the drain answers 403 because of a string in a record, and a drain whose host name is wrong
// answers 400 to all requests. So the router finds out. Entries that are refused together are
// written in parts until one is refused alone. That entry becomes a dead letter if the drain
// accepts others meanwhile; otherwise the settings are wrong, and the record waits.

const (
	// Entries that fail suspectAfter times in a row for a reason that is usually temporary (a broken
	// connection, 503) are written in parts. A probe record is written after probeAfter such failures
	// of one entry.
	suspectAfter, probeAfter = 2, 6
	// partsWait bounds the waits between the parts.
	partsWait = time.Second
)

// A suspicion holds what a delivery knows about the entries that the drain refused, which are the
// first of those left, and how many entries to write next.
type suspicion struct {
	n      int    // refused together, or the rest of them; 0: none
	whole  bool   // none of them has been accepted since
	weight int    // of them when they were refused
	part   int    // how many to write next; 0: no limit
	times  int    // failures in a row, without an entry accepted
	seen   uint64 // accepted writes when they were refused last
	alone  int    // how often the first was refused alone after the drain had accepted others
	run    bool   // the entry before them was refused alone, and became a dead letter
}

// size returns how many entries to write, of at most limit.
func (s *suspicion) size(limit int) int {
	if s.part == 0 || s.part >= limit && s.n == 0 {
		s.part = 0
		return limit
	}
	return min(s.part, limit)
}

// fail notes that the drain refused entries together, in a write that began when it had accepted
// seen writes. With split they are written in parts at once, otherwise after several failures. It
// reports whether it is one entry alone.
func (s *suspicion) fail(entries []sinks.Entry, seen uint64, split bool) (alone bool) {
	n := len(entries)
	if s.n == 0 {
		s.alone, s.seen = 0, seen
	}
	s.times++
	s.n, s.whole, s.weight = n, true, weighAll(entries)
	if s.part = n; n > 1 && (split || s.times >= suspectAfter) {
		s.part = n / 2
	}
	return n == 1
}

// passed notes that the drain accepted the first n entries. It returns the weight of those that it
// had refused together, once it has accepted all of them in parts; else 0.
func (s *suspicion) passed(n int) (tooLarge int) {
	s.times, s.alone, s.run = 0, 0, false
	switch {
	case s.n == 0 && s.part == 0:
	case s.n > n:
		s.n -= n
		s.whole, s.part = false, min(s.n, n)
	default:
		if s.n > 0 && !s.whole {
			tooLarge = s.weight
		}
		s.n, s.part = 0, 2*n
	}
	return tooLarge
}

// removed notes that the first entry, which was refused alone, became a dead letter. The next ones
// may be refused as well.
func (s *suspicion) removed() { *s = suspicion{part: 1, run: true} }
