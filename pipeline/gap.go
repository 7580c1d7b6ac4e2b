package pipeline

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// errOverdue is the cause with which work stops since what is not delivered is to be given up: the
// stream will remove it.
var errOverdue = errors.New("the stream will not keep the records for much longer")

const (
	// giveUpMost bounds how many segments are given up before that is noted.
	giveUpMost = 4096
	// readWait is how long a message is waited for that should be there.
	readWait = 5 * time.Second
)

// recordKey names a record.
type recordKey struct {
	operation string
	sequence  uint64
}

func keyOf(e sinks.Entry) recordKey { return recordKey{e.Operation.ID, e.Record.Sequence} }

// note notes which entries of a batch the drain has although the batch as a whole is not delivered:
// they are not missing if the rest is given up.
func (w *worker) note(batch, left []sinks.Entry) {
	if len(left) == 0 {
		return
	}
	i := 0
	for _, e := range batch {
		if i < len(left) && left[i] == e {
			i++
			continue
		}
		w.taken[keyOf(e)] = struct{}{}
	}
}

// forget forgets that of entries that are delivered.
func (w *worker) forget(batch []sinks.Entry) {
	if len(w.taken) == 0 {
		return
	}
	for _, e := range batch {
		delete(w.taken, keyOf(e))
	}
}

// due is when the oldest segment is to be given up that was never delivered; where there is none,
// when one would be that was published now.
func (w *worker) due(ctx context.Context, lease *bus.Lease, now time.Time) (time.Time, error) {
	first, ok, err := w.bus.First(ctx, schema.StreamLogs, w.filters, w.reached(lease))
	if err != nil {
		return time.Time{}, err
	}
	if !ok {
		return w.keep.giveUpAt(now), nil
	}
	return w.keep.giveUpAt(first.Time), nil
}

// reached is how far the drain has ever come.
func (w *worker) reached(lease *bus.Lease) uint64 {
	return max(lease.Progress().Reached, w.delivered.Load())
}

// begin looks at what became of the position while nobody worked on it.
//
// A new drain gets what the stream has. What is about to be removed then may come too late, and is
// not missing: it was there before the drain.
func (w *worker) begin(ctx context.Context, lease *bus.Lease) error {
	if w.delivered.Load() != lease.Position() { // another has worked on it
		clear(w.taken)
	}
	w.delivered.Store(lease.Position())
	now := time.Now()
	p := lease.Progress()
	clear(w.beyond)
	for _, part := range p.Beyond {
		w.beyond[part.Sequence] = part.Records
	}
	if reflect.DeepEqual(p, bus.Progress{}) {
		var err error
		p.Match = w.matchText()
		if p.Reached, err = w.bus.BeforeTime(ctx, w.keep.givenUp(now)); err != nil {
			return err
		}
		p.Safe = w.keep.safeAt(w.keep.givenUp(now))
		// Without room for it, delivery goes on all the same.
		if err := lease.SaveProgress(ctx, p); !errors.Is(err, bus.ErrFull) {
			return err
		}
		return nil
	}
	first, err := w.bus.Begin(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	if first <= p.Reached+1 || now.Before(p.Safe) {
		return nil
	}
	return w.unseen(ctx, lease, first)
}

// unseen notes what may be missing where the stream has removed messages behind the position, and
// nobody was there to look at them. Nobody knows which of them were for this drain. What can be
// told is told: of an operation whose first record that is left is not its first one, those before
// it may be missing. Operations of which nothing is left are not told.
func (w *worker) unseen(ctx context.Context, lease *bus.Lease, first uint64) error {
	p := lease.Progress()
	w.log.Error("the LOGS stream has removed messages before the drain had them, and no router ran that could have said which: records may be missing at the drain. "+
		"Gap records tell of the operations of which something is left",
		"after", p.Reached, "before", first)
	w.series.unseen.Inc()
	begun, err := w.firstSegments(ctx, first-1)
	if err != nil {
		return err
	}
	var decoder schema.Decoder
	var notes []*bus.GapNote
	for _, at := range begun {
		m, ok, err := w.bus.First(ctx, schema.StreamLogs, w.filters, at-1)
		if err != nil {
			return err
		}
		if !ok || m.Sequence != at {
			continue // it is gone meanwhile
		}
		segment, err := decoder.Segment(m.Data)
		if err != nil {
			w.corrupt(m, err)
			continue
		}
		r := &segment.Records[0]
		if r.Sequence == 1 || segment.Operation.PHI && !w.drain.PHI {
			continue
		}
		g, err := w.gapsOf(ctx, lease, segment.Operation)
		if err != nil {
			return err
		}
		gap := schema.Gap{First: 1, Last: r.Sequence - 1, End: r.Offset, Time: segment.Operation.Started.UnixNano(), Uncertain: true}
		if n := len(g.Gaps); n > 0 {
			last := g.Gaps[n-1]
			gap.First, gap.Offset, gap.Time = last.Last+1, last.End, last.Time
		}
		if gap.First > gap.Last {
			continue
		}
		g.Pending = &schema.PendingGaps{Gaps: []schema.Gap{gap}}
		notes = append(notes, g)
	}
	return w.abandon(ctx, lease, first-1, notes)
}

// firstSegments gives the sequences of the first segment of each operation behind a message.
func (w *worker) firstSegments(ctx context.Context, after uint64) (sequences []uint64, err error) {
	reader, err := w.bus.ReadHeads(ctx, schema.StreamLogs, w.filters, after)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	seen := make(map[string]bool) // by subject
	for pending := reader.Pending(); pending > 0; {
		m, ok, err := nextSoon(ctx, reader)
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

// nextSoon gives the next message of which there should be one; ok is false where it does not come.
func nextSoon(ctx context.Context, reader *bus.Reader) (m bus.Message, ok bool, err error) {
	soon, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	m, err = reader.Next(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return bus.Message{}, false, nil
	}
	return m, err == nil, err
}

// giveUp gives up the segments that the stream will soon remove: what is missing with them is
// noted, on the disk, before the position moves past them.
func (w *worker) giveUp(ctx context.Context, lease *bus.Lease) error {
	for {
		now := time.Now()
		due, err := w.due(ctx, lease, now)
		if err != nil {
			return err
		}
		if now.Before(due) {
			return nil
		}
		before := w.keep.givenUp(now)
		records, err := w.abandonSome(ctx, lease, func(m bus.Message) bool { return !m.Time.After(before) }, false)
		if err != nil {
			return err
		}
		if records > 0 {
			w.log.Error("the drain did not take records for as long as the streams keep them: they are given up, and it gets gap records in their place when it takes records again",
				"records", records, "published before", before.UTC())
		}
	}
}

// abandonSome abandons the segments after those that were ever delivered, up to the first that is
// not old enough for it or giveUpMost of them, and returns how many records are missing. skipped
// says that an operator wants it.
func (w *worker) abandonSome(ctx context.Context, lease *bus.Lease, abandoned func(bus.Message) bool, skipped bool) (records uint64, err error) {
	from := w.reached(lease)
	last := from
	reader, err := w.bus.Read(ctx, schema.StreamLogs, w.filters, last)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	if reader.Pending() == 0 {
		return 0, nil
	}
	missing := make(map[string]*abandoning) // by operation
	var decoder schema.Decoder
	var withheld int
	var passed []recordKey
	for range giveUpMost {
		m, ok, err := nextSoon(ctx, reader)
		if err != nil {
			return 0, err
		}
		if !ok || !abandoned(m) {
			break
		}
		segment, err := decoder.Segment(m.Data)
		switch {
		case errors.Is(err, schema.ErrCorrupt):
			w.corrupt(m, err)
		case err != nil:
			return 0, err
		case segment.Operation.PHI && !w.drain.PHI:
			withheld += len(segment.Records)
		default:
			a := missing[segment.Operation.ID]
			if a == nil {
				note, err := w.gapsOf(ctx, lease, segment.Operation)
				if err != nil {
					return 0, err
				}
				a = newAbandoning(note, from)
				missing[segment.Operation.ID] = a
			}
			if m.Sequence <= a.note.Through {
				break // an earlier version noted it, and stopped before it moved the position
			}
			for i := min(w.beyond[m.Sequence], len(segment.Records)); i < len(segment.Records); i++ {
				r := &segment.Records[i]
				key := recordKey{segment.Operation.ID, r.Sequence}
				if _, there := w.taken[key]; there {
					passed = append(passed, key)
					continue
				}
				gap := schema.GapOf(r)
				gap.Skipped = skipped
				a.add(m.Sequence, gap)
			}
		}
		last = m.Sequence
		if m.Pending == 0 {
			break
		}
	}
	var notes []*bus.GapNote
	for _, a := range missing {
		note, n := a.finish(last)
		if records += n; n > 0 {
			notes = append(notes, note)
		}
	}
	if err := w.abandon(ctx, lease, last, notes); err != nil {
		return 0, err
	}
	for _, key := range passed {
		delete(w.taken, key)
	}
	w.series.missed.Add(float64(records))
	w.series.withheld.Add(float64(withheld))
	return records, nil
}

// passed forgets of beyond what the position has passed.
func (w *worker) passed(position uint64) {
	if len(w.beyond) > 0 {
		maps.DeleteFunc(w.beyond, func(sequence uint64, _ int) bool { return sequence <= position })
	}
}

// tellGaps delivers the gap records that wait. The position is past all records that they stand
// for, so that each comes before all later records of its operation.
func (w *worker) tellGaps(ctx context.Context, lease *bus.Lease) error {
	all, err := w.gapNotes(ctx, lease)
	if err != nil || len(all) == 0 {
		return err
	}
	due, err := w.due(ctx, lease, time.Now())
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *bus.GapNote) int { return cmp.Compare(a.Gaps[0].Time, b.Gaps[0].Time) })
	for len(all) > 0 {
		var batch []sinks.Entry
		n := 0
		for n < len(all) && len(batch) < w.drain.BatchRecords {
			g := all[n]
			for i := range g.Gaps {
				if w.drain.mayHave(g.Operation) {
					batch = append(batch, sinks.Entry{Operation: g.Operation, Record: g.Gaps[i].Record()})
				}
			}
			n++
		}
		d := delivery{worker: w, due: due}
		_, err := d.deliver(ctx, batch)
		d.end()
		if err != nil {
			return err
		}
		for _, g := range all[:n] {
			g.Gaps = nil
			if err := w.saveGaps(ctx, g); err != nil {
				return err
			}
		}
		all = all[n:]
	}
	return nil
}

// mayHave says whether the drain gets an operation, as it is configured now.
func (d *Drain) mayHave(op *schema.Operation) bool {
	if op.PHI && !d.PHI {
		return false
	}
	return len(d.Match) == 0 || slices.ContainsFunc(d.Match, func(m Match) bool {
		return (m.Stack == "" || m.Stack == op.Stack) && (m.App == "" || m.App == op.App)
	})
}
