package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// What a drain does not have is counted without a second reading of it where that can be: what was
// read and not delivered is known. Where a drain is so far behind that its worker reads no further,
// or does not read at all, the segments behind that are counted by the heads of their messages,
// which say how many records each has, once each.

const (
	// countEvery is how often more is counted.
	countEvery = 5 * time.Second
	// countMost bounds how long it is counted, for a list of the drains, what those do not have that
	// nobody works for.
	countMost = 2 * time.Second
)

// counted is how much there was from where a worker began to a message of the stream.
type counted struct {
	sequence          uint64 // of that message
	segments, records uint64
}

// lag is how far a drain is behind.
type lag struct {
	records, segments uint64
	atLeast           bool      // records is not all that there are
	oldest            time.Time // when the first of them was shown; zero where nobody has looked, or there is none
}

// seconds is the age of the oldest.
func (l lag) seconds(now time.Time) float64 {
	if l.oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(l.oldest).Seconds())
}

// tally counts what is read, delivered and counted ahead, from where a worker begins. Its caller
// holds a lock.
type tally struct {
	phi               bool // the drain may have protected health information
	read, done, ahead counted
	pending           uint64    // segments behind read
	aheadPending      uint64    // segments behind ahead
	unknown           bool      // nobody has looked yet at what there is
	oldest            time.Time // as in lag
}

// start starts anew at a message.
func (t *tally) start(sequence uint64) {
	at := counted{sequence: sequence}
	*t = tally{phi: t.phi, read: at, done: at, ahead: at, unknown: true}
}

// lag tells how far the drain is behind.
func (t *tally) lag() lag {
	end, pending := t.read, t.pending
	if t.ahead.sequence > end.sequence {
		end, pending = t.ahead, t.aheadPending
	}
	return lag{end.records - t.done.records, end.segments - t.done.segments + pending, pending > 0 || t.unknown, t.oldest}
}

// count counts a message's head, unless it was read meanwhile.
func (t *tally) count(m bus.Message) {
	if t.ahead.sequence < t.read.sequence {
		t.ahead = t.read
	}
	t.aheadPending, t.unknown = m.Pending, false
	if m.Sequence <= t.ahead.sequence {
		return
	}
	t.ahead.sequence = m.Sequence
	t.ahead.segments++
	if t.phi || !m.PHI {
		t.ahead.records += m.Records
	}
}

// countAhead counts what comes behind what was read, whenever there is much of it, until ctx is
// done.
func (w *worker) countAhead(ctx context.Context) {
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if from, behind := w.state.uncounted(); behind && !time.Now().Before(next) {
			err := countHeads(ctx, w.bus, w.filters, from, w.state.count)
			if err != nil && ctx.Err() == nil {
				w.log.Debug("what the drain does not have yet could not be counted", "error", err)
			}
			next = time.Now().Add(countEvery)
		}
		if w.state.lacksOldest() {
			if at, ok, err := firstShown(ctx, w.bus, w.filters, w.delivered.Load(), w.drain.PHI); err == nil && ok {
				w.state.found(at)
			}
		}
	}
}

// countHeads calls each with the heads of the segments after a message that there are, until each
// returns false.
func countHeads(ctx context.Context, b *bus.Bus, filters []string, after uint64, each func(bus.Message) bool) error {
	reader, err := b.ReadHeads(ctx, schema.StreamLogs, filters, after)
	if err != nil {
		return err
	}
	defer reader.Close()
	if reader.Pending() == 0 {
		each(bus.Message{Sequence: after})
		return nil
	}
	for {
		m, ok, err := nextSoon(ctx, reader)
		if err != nil || !ok || !each(m) || m.Pending == 0 {
			return err
		}
	}
}

// firstShown tells when the first record after a message was shown.
func firstShown(ctx context.Context, b *bus.Bus, filters []string, after uint64, phi bool) (at time.Time, ok bool, err error) {
	var decoder schema.Decoder
	for {
		m, ok, err := b.First(ctx, schema.StreamLogs, filters, after)
		if err != nil || !ok {
			return time.Time{}, false, err
		}
		segment, err := decoder.Segment(m.Data)
		switch {
		case err != nil && !errors.Is(err, schema.ErrCorrupt):
			return time.Time{}, false, err
		case err == nil && (phi || !segment.Operation.PHI):
			return time.Unix(0, segment.Records[0].Time), true, nil
		}
		after = m.Sequence
	}
}

// lagOf finds out how far a drain is behind in a partition that nobody works on. It counts until a
// time at the latest.
func lagOf(ctx context.Context, b *bus.Bus, d *Drain, partition int, until time.Time) (l lag, err error) {
	p, _, err := b.Progress(ctx, leaseOf(d.Name, partition))
	if err != nil {
		return l, err
	}
	filters := filtersOf(*d, partition)
	t := tally{phi: d.PHI}
	t.start(p.Sequence)
	if err := countHeads(ctx, b, filters, p.Sequence, func(m bus.Message) bool {
		t.count(m)
		return time.Now().Before(until)
	}); err != nil {
		return l, err
	}
	l = t.lag()
	if l.records > 0 {
		l.oldest, _, err = firstShown(ctx, b, filters, p.Sequence, d.PHI)
	}
	return l, err
}
