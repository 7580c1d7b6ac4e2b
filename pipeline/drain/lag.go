package drain

import (
	"context"
	"errors"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// The lag of a drain is counted in records, and if possible without reading them twice: the worker
// knows those that it has read and not delivered. Where the worker reads no further, or not at all,
// the later segments are counted by their messages' headers, which hold the number of records.

const (
	// headTimeout bounds the wait for a message that should be there.
	headTimeout = 5 * time.Second
	// CountTimeout bounds the counting of what drains without a worker lack, for one list of the
	// drains.
	CountTimeout = 2 * time.Second
)

// Lag counts the records that a drain does not have yet.
type Lag struct {
	Records, Segments uint64
	AtLeast           bool      // there are more records than were counted
	Oldest            time.Time // when the first of the records was shown; zero if unknown, or none
}

// Seconds returns the age of the oldest record.
func (l Lag) Seconds(now time.Time) float64 {
	if l.Oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(l.Oldest).Seconds())
}

// counted is the number of segments and records from where a worker began to one segment.
type counted struct {
	sequence          uint64 // of that segment
	segments, records uint64
}

// A Tally counts the segments that are read, delivered and counted ahead, from where a worker
// begins. It is not safe for concurrent use.
type Tally struct {
	phi               bool // the drain may receive protected health information
	read, done, ahead counted
	pending           uint64    // segments after read
	aheadPending      uint64    // segments after ahead
	unknown           bool      // the stream has not been examined yet
	oldest            time.Time // as in Lag
}

// NewTally returns a tally from a sequence on. phi is that of [Drain].
func NewTally(phi bool, sequence uint64) Tally {
	at := counted{sequence: sequence}
	return Tally{phi: phi, read: at, done: at, ahead: at, unknown: true}
}

// Reset starts again from a sequence.
func (t *Tally) Reset(sequence uint64) { *t = NewTally(t.phi, sequence) }

// SetPending sets the number of segments after the last one read.
func (t *Tally) SetPending(n uint64) { t.pending = n }

// Pending returns the number of segments after the last one read.
func (t *Tally) Pending() uint64 { return t.pending }

// Start notes that reading begins, with so many segments pending.
func (t *Tally) Start(pending uint64) { t.pending, t.unknown = pending, false }

// Read adds a segment that was read, with so many records for the drain.
func (t *Tally) Read(m bus.Message, records int) {
	t.read = counted{m.Sequence, t.read.segments + 1, t.read.records + uint64(records)}
	t.pending = m.Pending
}

// Deliver adds delivered segments and records. Everything up to a sequence is delivered.
func (t *Tally) Deliver(sequence uint64, segments, records int) {
	t.done = counted{sequence, t.done.segments + uint64(segments), t.done.records + uint64(records)}
	if t.done.sequence == t.read.sequence && t.pending == 0 {
		t.oldest = time.Time{}
	}
}

// Delivered returns the sequence up to which everything is delivered.
func (t *Tally) Delivered() uint64 { return t.done.sequence }

// CaughtUp reports whether the drain has everything that was there at the last read.
func (t *Tally) CaughtUp() bool {
	return !t.unknown && t.pending == 0 && t.done.sequence == t.read.sequence
}

// Counted returns the sequence up to which the records are counted.
func (t *Tally) Counted() uint64 { return max(t.read.sequence, t.ahead.sequence) }

// Count counts a segment by its message's header, unless it was read meanwhile.
func (t *Tally) Count(m bus.Message) {
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

// SetOldest sets when the first record that the drain lacks was shown.
func (t *Tally) SetOldest(shown time.Time) { t.oldest = shown }

// Lag returns the drain's lag.
func (t *Tally) Lag() Lag {
	end, pending := t.read, t.pending
	if t.ahead.sequence > end.sequence {
		end, pending = t.ahead, t.aheadPending
	}
	return Lag{
		Records: end.records - t.done.records, Segments: end.segments - t.done.segments + pending,
		AtLeast: pending > 0 || t.unknown, Oldest: t.oldest,
	}
}

// CountHeads calls each with the header of every segment after a sequence, until each returns
// false. Without any segment, it calls each once with that sequence.
func CountHeads(ctx context.Context, b *bus.Bus, filters []string, after uint64, each func(bus.Message) bool) error {
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
		m, ok, err := reader.NextWithin(ctx, headTimeout)
		if err != nil || !ok || !each(m) || m.Pending == 0 {
			return err
		}
	}
}

// FirstShown returns when the first record after a sequence was shown that the drain receives.
func FirstShown(ctx context.Context, b *bus.Bus, filters []string, after uint64, phi bool) (at time.Time, ok bool, err error) {
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

// Lag counts the lag in a partition that has no worker. It stops counting at a time.
func (d *Drain) Lag(ctx context.Context, b *bus.Bus, partition int, until time.Time) (l Lag, err error) {
	p, _, err := b.Progress(ctx, LeaseName(d.Name, partition))
	if err != nil {
		return l, err
	}
	filters := d.Filters(partition)
	t := NewTally(d.PHI, p.Sequence)
	if err := CountHeads(ctx, b, filters, p.Sequence, func(m bus.Message) bool {
		t.Count(m)
		return time.Now().Before(until)
	}); err != nil {
		return l, err
	}
	l = t.Lag()
	if l.Records > 0 {
		l.Oldest, _, err = FirstShown(ctx, b, filters, p.Sequence, d.PHI)
	}
	return l, err
}
