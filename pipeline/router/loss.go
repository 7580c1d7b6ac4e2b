package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

const (
	// maxAbandoned bounds how many segments are abandoned before the position is saved.
	maxAbandoned = 4096
	// readTimeout bounds the wait for a message that should be there.
	readTimeout = 5 * time.Second
)

// A lossTracker abandons segments that the stream is about to remove, or that an operator skips,
// detects those that were removed unexamined, and delivers gap records about both. Only the
// goroutine of the worker uses it.
type lossTracker struct {
	target    *target
	position  *position
	deliverer *deliverer
}

// detect checks whether the stream has removed segments after the position that no worker has
// examined.
func (l *lossTracker) detect(ctx context.Context) error {
	first, err := l.target.bus.Begin(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	if p := l.position.lease.Progress(); first <= p.Reached+1 || time.Now().Before(p.Safe) {
		return nil
	}
	return l.unattendedLoss(ctx, first)
}

// unattendedLoss records what may be missing when the stream has removed the segments between the
// position and its first message, and no worker has examined them. It is unknown which of them were
// for this drain. If the first remaining record of an operation is not the first of the operation,
// the records before it may be missing. Operations of which no record remains are not reported.
func (l *lossTracker) unattendedLoss(ctx context.Context, first uint64) error {
	t := l.target
	t.log.Error("the LOGS stream removed undelivered messages while no router ran",
		"after", l.position.lease.Progress().Reached, "before", first)
	t.series.unattended.Inc()
	begun, err := l.firstSegments(ctx, first-1)
	if err != nil {
		return err
	}
	var decoder schema.Decoder
	var notes []*bus.GapNote
	for _, at := range begun {
		m, ok, err := t.bus.First(ctx, schema.StreamLogs, t.filters, at-1)
		if err != nil {
			return err
		}
		if !ok || m.Sequence != at {
			continue // it was removed meanwhile
		}
		segment, err := decoder.Segment(m.Data)
		if err != nil {
			t.skipCorrupt(m, err)
			continue
		}
		r := &segment.Records[0]
		if r.Sequence == 1 || !t.mayReceive(segment.Operation) {
			continue
		}
		note, err := l.noteOf(ctx, segment.Operation)
		if err != nil {
			return err
		}
		gap := schema.Gap{First: 1, Last: r.Sequence - 1, End: r.Offset, Time: segment.Operation.Started.UnixNano(), Uncertain: true}
		if n := len(note.Gaps); n > 0 {
			last := note.Gaps[n-1]
			gap.First, gap.Offset, gap.Time = last.Last+1, last.End, last.Time
		}
		if gap.First > gap.Last {
			continue
		}
		note.Pending = &schema.PendingGaps{Gaps: []schema.Gap{gap}}
		notes = append(notes, note)
	}
	return l.commit(ctx, first-1, notes)
}

// firstSegments returns the sequences of the first segment of each operation after a sequence.
func (l *lossTracker) firstSegments(ctx context.Context, after uint64) (sequences []uint64, err error) {
	reader, err := l.target.bus.ReadHeads(ctx, schema.StreamLogs, l.target.filters, after)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	seen := make(map[string]bool) // by subject
	for pending := reader.Pending(); pending > 0; {
		m, ok, err := reader.NextWithin(ctx, readTimeout)
		if err != nil || !ok {
			return sequences, err
		}
		if !seen[m.Subject] {
			seen[m.Subject] = true
			sequences = append(sequences, m.Sequence)
		}
		pending = m.Pending
	}
	return sequences, nil
}

// giveUp abandons the segments that the stream is about to remove. The missing records are durable
// as gaps before the position moves past the segments.
func (l *lossTracker) giveUp(ctx context.Context) error {
	t := l.target
	for {
		now := time.Now()
		deadline, err := l.position.deadline(ctx, now)
		if err != nil {
			return err
		}
		if now.Before(deadline) {
			return nil
		}
		before := t.retention.abandonBefore(now)
		records, err := l.abandon(ctx, func(m bus.Message) bool { return !m.Time.After(before) }, false)
		if err != nil {
			return err
		}
		if records > 0 {
			t.log.Error("undelivered records were abandoned at their retention deadline",
				"records", records, "published_before", before.UTC())
		}
	}
}

// skip abandons the undelivered segments up to a sequence, because an operator wants it.
func (l *lossTracker) skip(ctx context.Context, until uint64) error {
	var records uint64
	for {
		last := l.position.reached()
		n, err := l.abandon(ctx, func(m bus.Message) bool { return m.Sequence <= until }, true)
		if err != nil {
			return err
		}
		records += n
		if l.position.reached() == last {
			break
		}
	}
	if records > 0 {
		l.target.log.Warn("an operator skipped undelivered records", "records", records, "until", until)
	}
	return nil
}

// abandon abandons the segments after those that were ever delivered, up to the first for which
// expired is false, or maxAbandoned of them. It returns the number of missing records. skipped
// marks them as skipped by an operator.
func (l *lossTracker) abandon(ctx context.Context, expired func(bus.Message) bool, skipped bool) (records uint64, err error) {
	t := l.target
	from := l.position.reached()
	last := from
	reader, err := t.bus.Read(ctx, schema.StreamLogs, t.filters, last)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	if reader.Pending() == 0 {
		return 0, nil
	}
	missing := make(map[string]*gapCollector) // by operation
	var decoder schema.Decoder
	var withheld int
	var found []recordKey // confirmed records
	for range maxAbandoned {
		m, ok, err := reader.NextWithin(ctx, readTimeout)
		if err != nil {
			return 0, err
		}
		if !ok || !expired(m) {
			break
		}
		segment, err := decoder.Segment(m.Data)
		switch {
		case errors.Is(err, schema.ErrCorrupt):
			t.skipCorrupt(m, err)
		case err != nil:
			return 0, err
		case !t.mayReceive(segment.Operation):
			withheld += len(segment.Records)
		default:
			c := missing[segment.Operation.ID]
			if c == nil {
				note, err := l.noteOf(ctx, segment.Operation)
				if err != nil {
					return 0, err
				}
				c = newGapCollector(note, from)
				missing[segment.Operation.ID] = c
			}
			found = append(found, l.collect(c, m.Sequence, segment, skipped)...)
		}
		last = m.Sequence
		if m.Pending == 0 {
			break
		}
	}
	var notes []*bus.GapNote
	for _, c := range missing {
		note, n := c.finish(last)
		if records += n; n > 0 {
			notes = append(notes, note)
		}
	}
	if err := l.commit(ctx, last, notes); err != nil {
		return 0, err
	}
	for _, key := range found {
		delete(l.position.confirmed, key)
	}
	t.series.missed.Add(float64(records))
	t.series.withheld.Add(float64(withheld))
	return records, nil
}

// collect adds the records of a segment that the drain lacks to the gaps of its operation. It
// returns those that the drain has confirmed by themselves.
func (l *lossTracker) collect(c *gapCollector, sequence uint64, segment *schema.Segment, skipped bool) (confirmed []recordKey) {
	if sequence <= c.note.Through {
		return nil // a version without pending gaps noted it, and stopped before it moved the position
	}
	for i := min(l.position.ahead[sequence], len(segment.Records)); i < len(segment.Records); i++ {
		r := &segment.Records[i]
		key := recordKey{segment.Operation.ID, r.Sequence}
		if _, ok := l.position.confirmed[key]; ok {
			confirmed = append(confirmed, key)
			continue
		}
		gap := schema.GapOf(r)
		gap.Skipped = skipped
		c.add(sequence, gap)
	}
	return confirmed
}

// deliverGaps delivers the gap records that wait. The position is past all records that they
// replace, so that each precedes all later records of its operation.
func (l *lossTracker) deliverGaps(ctx context.Context) error {
	t := l.target
	notes, err := l.notes(ctx)
	if err != nil || len(notes) == 0 {
		return err
	}
	deadline, err := l.position.deadline(ctx, time.Now())
	if err != nil {
		return err
	}
	slices.SortFunc(notes, func(a, b *bus.GapNote) int { return cmp.Compare(a.Gaps[0].Time, b.Gaps[0].Time) })
	for len(notes) > 0 {
		var batch []sinks.Entry
		n := 0
		for n < len(notes) && len(batch) < t.drain.BatchRecords {
			note := notes[n]
			for i := range note.Gaps {
				if t.drain.Accepts(note.Operation) {
					record, err := t.gapRecord(note.Operation, &note.Gaps[i])
					if err != nil {
						return err
					}
					batch = append(batch, sinks.Entry{Operation: note.Operation, Record: record})
				}
			}
			n++
		}
		if _, err := l.deliverer.Deliver(ctx, batch, deadline); err != nil {
			return err
		}
		for _, note := range notes[:n] {
			note.Gaps = nil
			if err := l.save(ctx, note); err != nil {
				return err
			}
		}
		notes = notes[n:]
	}
	return nil
}

// gapRecord returns the signed record of a gap.
func (t *target) gapRecord(op *schema.Operation, g *schema.Gap) (*schema.Record, error) {
	r := g.Record()
	if t.sign == nil {
		return r, nil
	}
	var err error
	if r.Detail.Signature, err = t.sign(schema.SignedGap, schema.ClaimOf(op.ID, t.drain.Name, r)); err != nil {
		return nil, fmt.Errorf("sign a gap of operation %s: %w", op.ID, err)
	}
	return r, nil
}

// commit moves the position to a sequence, past segments that the drain never receives. The notes'
// pending gaps are durable before the move, which commits them all in one write: if a worker stops
// before it, its pending gaps do not count.
func (l *lossTracker) commit(ctx context.Context, last uint64, notes []*bus.GapNote) error {
	for _, n := range notes {
		n.Pending.Epoch, n.Pending.From, n.Pending.Until = l.position.lease.Epoch(), l.position.reached(), last
		if err := l.save(ctx, n); err != nil {
			return err
		}
	}
	if err := l.position.abandon(ctx, last); err != nil {
		return err
	}
	for _, n := range notes {
		before := len(n.Gaps)
		n.Commit()
		l.target.series.gaps.Add(float64(len(n.Gaps) - before))
		if err := l.save(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// noteOf returns the gap note of an operation, settled.
func (l *lossTracker) noteOf(ctx context.Context, op *schema.Operation) (*bus.GapNote, error) {
	n, _, err := l.target.bus.OperationGaps(ctx, l.target.drain.Name, l.target.partition, op.ID)
	if err != nil {
		return nil, err
	}
	n.Operation = op
	return &n, settleGaps(&n, l.position.lease)
}

// notes returns the settled notes with gaps that were not delivered to the drain.
func (l *lossTracker) notes(ctx context.Context) (notes []*bus.GapNote, err error) {
	all, err := l.target.bus.Gaps(ctx, l.target.drain.Name, l.target.partition)
	if err != nil {
		return nil, err
	}
	for i := range all {
		n := &all[i]
		if err := settleGaps(n, l.position.lease); err != nil {
			return nil, err
		}
		switch {
		case len(n.Gaps) > 0:
			notes = append(notes, n)
		case n.Pending == nil:
			if err := l.save(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	return notes, nil
}

// save saves a note, or deletes it if it is empty.
func (l *lossTracker) save(ctx context.Context, n *bus.GapNote) error {
	if len(n.Gaps) == 0 && n.Pending == nil {
		return l.target.bus.DeleteGaps(ctx, l.target.drain.Name, l.target.partition, n)
	}
	return l.target.bus.SaveGaps(ctx, l.target.drain.Name, l.target.partition, n)
}
