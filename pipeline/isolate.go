package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// An answer does not tell a refused record from a refusal of everything: a firewall in front of the
// drain answers 403 because of a string in a record, and a drain whose host name is wrong answers
// 400 to all requests. So the router finds out. Entries that are refused together are written in
// parts until one is refused alone. That one becomes a dead letter if the drain accepts others
// meanwhile; otherwise it is the settings, and the record waits.

const (
	// Entries that fail suspectAfter times in a row for a reason that is usually temporary (a
	// broken connection, 503) are written in parts. A probe record is written after probeAfter such
	// failures of one entry.
	suspectAfter, probeAfter = 2, 6
	// partsWait bounds the waits between the parts.
	partsWait = time.Second
	// How often a record has to be refused alone, each time after the drain has accepted another
	// one since the last time, before it becomes a dead letter: the more likely it is that the
	// failure passes, the more often.
	refusalsRejected      = 1 // by 400, 413 and the like a drain speaks of the record
	refusalsMisconfigured = 2 // one of several servers at an address can have other settings
	refusalsRetry         = 3
)

// A suspicion holds what a delivery knows of the entries that the drain refused, which are the
// first of those left, and how many entries to write next.
type suspicion struct {
	n      int    // refused together, or the rest of them; 0: none are
	whole  bool   // none of them has been accepted since
	weight int    // of them when they were refused
	part   int    // how many to write next; 0: as many as may be
	times  int    // failures in a row, without an entry accepted
	seen   uint64 // accepted writes when they were refused last
	alone  int    // how often the first was refused alone after the drain had accepted others
	run    bool   // the one before them was refused alone, and became a dead letter
}

// size returns how many entries to write, of at most so many.
func (s *suspicion) size(most int) int {
	if s.part == 0 || s.part >= most && s.n == 0 {
		s.part = 0
		return most
	}
	return min(s.part, most)
}

// fail notes that the drain refused entries together, in a write that began when it had accepted so
// many. split has them be written in parts at once; otherwise that is after they failed several
// times. It reports whether it is one entry alone.
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

// without notes that the first entry, which was refused alone, became a dead letter. The next ones
// may be refused as well.
func (s *suspicion) without() { *s = suspicion{part: 1, run: true} }

// refusals returns how often a record has to be refused alone before it becomes a dead letter.
func refusals(v sinks.Verdict) int {
	switch v {
	case sinks.Rejected, sinks.TooLarge:
		return refusalsRejected
	case sinks.Misconfigured:
		return refusalsMisconfigured
	}
	return refusalsRetry
}

// alone is for the first of the entries that are left, which the drain refused by itself. It
// becomes a dead letter when it was refused often enough, and the drain accepted others in between.
// Where it did not, a probe record finds out whether the drain accepts anything; if it does not,
// the delivery waits, and lets others try.
func (d *delivery) alone(ctx context.Context, left []sinks.Entry, why sinks.Item, failed *sinks.Error, overdue bool) ([]sinks.Entry, error) {
	s := &d.suspicion
	passing := why.Verdict == sinks.Retry
	count, _ := d.share.proof.get()
	spare := s.run && d.share.proof.spare(time.Now())
	mayGiveUp := d.share.proof.mayGiveUp()
	if mayGiveUp && (count > s.seen || spare) {
		s.seen = count
		if s.alone++; spare || s.alone >= refusals(why.Verdict) {
			if err := d.deadLetter(ctx, left[0], d.reasonOf(why)); err != nil {
				return left, err
			}
			s.without()
			return left[1:], nil
		}
		if passing {
			d.failed(ctx, failed, d.fast, failed.RetryAfter, maxWait)
		}
		return left, causeOf(ctx)
	}
	var probed error
	if mayGiveUp && (!passing || s.times >= probeAfter) {
		probed = d.probe(ctx, left[0].Operation)
		if probed != nil && d.share.proof.mayBlameOperation() && ctx.Err() == nil {
			probed = d.probe(ctx, nil)
		}
		if probed == nil {
			d.share.proof.accepted(time.Now(), false)
			d.works()
			return left, causeOf(ctx)
		}
	}
	if ctx.Err() != nil {
		return left, context.Cause(ctx)
	}
	waits := d.fast
	if passing {
		d.state.fail(schema.DrainRetrying, failed)
	} else {
		waits = d.slow
		d.misconfigured(why.Reason, why.Status, d.nothingElse(why, failed, probed))
	}
	if overdue {
		return left, errOverdue
	}
	d.rest(ctx, failed, waits, failed.RetryAfter)
	return left, causeOf(ctx)
}

// causeOf is the cause of ctx's end, or nil before it.
func causeOf(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// nothingElse is the error of a drain that refuses a record, and everything else too.
func (d *delivery) nothingElse(why sinks.Item, failed *sinks.Error, probed error) error {
	if why.Verdict == sinks.Misconfigured {
		return failed
	}
	also := "a probe record"
	if probed == nil { // it accepts those, and no others
		also = "every other record of a session"
	}
	return fmt.Errorf("%w (it refuses %s too, so the settings are the cause: no record becomes a dead letter)", failed, also)
}

// reasonOf returns the reason of a dead letter. The advice for an answer such as 401 would mislead,
// since the drain accepts other records with the same settings.
func (d *delivery) reasonOf(why sinks.Item) sinks.Item {
	if why.Verdict == sinks.Rejected || why.Verdict == sinks.TooLarge {
		return why
	}
	what := "breaks the connection, or does not answer in time,"
	if why.Status != 0 {
		what = "answers " + strconv.Itoa(why.Status) + " " + http.StatusText(why.Status)
	}
	why.Reason = "the drain " + what + " for this record alone and accepts others with the same settings: " +
		"look into the log of what stands before it, such as a web application firewall, which refuses what the record holds"
	return why
}

// probe writes a record that belongs to no session: see probeRecord.
func (d *delivery) probe(ctx context.Context, like *schema.Operation) error {
	entry := probeRecord(d.drain.Name, like, time.Now())
	return d.write(ctx, []sinks.Entry{entry})
}

// rest waits before the next try of a record that the drain refuses. Batches of other operations
// are tried meanwhile: when the drain accepts one, the wait is over.
func (d *delivery) rest(ctx context.Context, err error, waits *backoff.ExponentialBackOff, atLeast time.Duration) {
	wait, ok := d.nextWait(ctx, err, waits, atLeast, maxWait)
	if !ok {
		return
	}
	_, changed := d.share.proof.get()
	if d.park != nil {
		d.end()
		d.park(ctx, true)
		defer d.park(ctx, false)
	}
	d.state.waits(d, time.Now().Add(wait))
	defer d.state.waits(d, time.Time{})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
}
