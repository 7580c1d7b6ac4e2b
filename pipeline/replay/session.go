package replay

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"reflect"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A Session is what a copy has of one operation.
type Session struct {
	// Operation is what the records say of it. Of a copy that is not the stream, Command, Interactive,
	// Width and Height are from the start record, User.ID from the user document, whose signature was
	// not looked at, and Expires is zero.
	Operation *schema.Operation
	// Started is when the session began: by the stream's word, or when the earliest of the records was
	// shown.
	Started time.Time
	// Records are in the order of their sequence. Repeats with the same content are left out; where
	// there are several with one sequence that differ, all are there, one behind another, in the order
	// in which they came.
	Records []*Record
	// Gaps are the records that tell which run of others this drain misses; repeats are left out. Some
	// of those may have come later.
	Gaps []*Record
	// Repeats counts the records that came again.
	Repeats int
	// Broken are what seems to be of this session and can't be read.
	Broken []Broken
	// Lost is what at least one of the records does not have.
	Lost Lost
}

// End is the end record; nil where the copy has none, because the session goes on or because it is
// missing.
func (s *Session) End() *Record {
	for _, r := range slices.Backward(s.Records) {
		if r.Event == schema.EventEnd {
			return r
		}
	}
	return nil
}

// Transcript gives one record of each sequence, in order: of several that differ, the first that
// came. That the session's bytes are whole is for an audit to say.
func (s *Session) Transcript() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for i, r := range s.Records {
			if i > 0 && r.Sequence == s.Records[i-1].Sequence {
				continue
			}
			if !yield(r) {
				return
			}
		}
	}
}

// A Summary is what a copy had in it beside sessions.
type Summary struct {
	Sessions int // that were selected and given out
	Records  int // of them, with repeats
	Tests    int // records that tested the drain, which are of no session
	Others   int // lines and documents that are not ttydrain's
	// Broken are what can't be read and seems to be of no session that was given out, at most 1000;
	// BrokenCount counts them all.
	Broken      []Broken
	BrokenCount int
}

const (
	maxBroken = 1000
	// memoryLimit is how many bytes of records Sessions holds, about.
	memoryLimit = 256 << 20
)

// Sessions reads a copy and calls each with every session that is selected. Where all fit into
// memory or the copy is grouped, the order is that of the operations' IDs or the copy's; otherwise
// there is none.
//
// One ID can be that of two sessions, where a copy has records of two installations, or of one
// whose store was begun anew: where several containers have a first record under it, each is a
// session.
func Sessions(ctx context.Context, c Copy, sel Selection, each func(*Session) error) (Summary, error) {
	return sessions(ctx, c, sel, memoryLimit, each)
}

func sessions(ctx context.Context, c Copy, sel Selection, limit int, each func(*Session) error) (Summary, error) {
	a := &assembler{sel: sel, each: each, limit: limit, piles: make(map[string][]*Record)}
	defer a.close()
	err := c.Read(ctx, Visitor{
		Record: func(r *Record) error {
			if schema.IsTest(r.Operation.ID) {
				a.summary.Tests++
				return nil
			}
			if !sel.Takes(r.Operation) {
				return nil
			}
			return a.add(r, c.Grouped())
		},
		Broken: a.broken,
		Other:  func() { a.summary.Others++ },
	})
	if err != nil {
		return a.summary, err
	}
	return a.summary, a.finish(ctx)
}

// An assembler puts records together. It is for one goroutine.
type assembler struct {
	sel     Selection
	each    func(*Session) error
	limit   int
	piles   map[string][]*Record // what has come of each operation
	size    int                  // of the records in them, about, in bytes
	current string
	spool   *spool // nil until the limit was reached
	summary Summary
	// lost are the broken records by operation, at most maxBroken of each of them
	lost map[string][]Broken
}

func (a *assembler) close() {
	if a.spool != nil {
		a.spool.close()
	}
}

func (a *assembler) broken(b Broken) {
	if b.Operation != "" && (a.sel.Operation == "" || a.sel.Operation == b.Operation) {
		if a.lost == nil {
			a.lost = make(map[string][]Broken)
		}
		if len(a.lost[b.Operation]) < maxBroken {
			a.lost[b.Operation] = append(a.lost[b.Operation], b)
			return
		}
	}
	a.unowned(b)
}

func (a *assembler) unowned(b Broken) {
	a.summary.BrokenCount++
	if len(a.summary.Broken) < maxBroken {
		a.summary.Broken = append(a.summary.Broken, b)
	}
}

func (a *assembler) add(r *Record, grouped bool) error {
	if r.Part.Total == 0 {
		a.summary.Records++
	}
	id := r.Operation.ID
	if grouped && id != a.current {
		if err := a.give(a.current); err != nil {
			return err
		}
	}
	a.current = id
	a.piles[id] = append(a.piles[id], r)
	a.size += sizeOf(r)
	if a.size < a.limit || grouped {
		return nil
	}
	return a.spill()
}

// sizeOf is about how much memory a record takes.
func sizeOf(r *Record) int {
	return 400 + len(r.Log) + len(r.Text) + len(r.Timing)
}

// spill puts all that is held into the spool.
func (a *assembler) spill() error {
	if a.spool == nil {
		a.spool = new(spool)
	}
	for _, p := range a.piles {
		for _, r := range p {
			if err := a.spool.put(r); err != nil {
				return err
			}
		}
	}
	clear(a.piles)
	a.size = 0
	return nil
}

func (a *assembler) finish(ctx context.Context) error {
	if a.spool == nil {
		if err := a.giveAll(ctx); err != nil {
			return err
		}
	} else {
		if err := a.spill(); err != nil {
			return err
		}
		for i := range a.spool.parts {
			err := a.spool.read(i, func(r *Record) {
				a.piles[r.Operation.ID] = append(a.piles[r.Operation.ID], r)
			})
			if err != nil {
				return err
			}
			if err := a.giveAll(ctx); err != nil {
				return err
			}
		}
	}
	for _, list := range a.lost {
		for _, b := range list {
			a.unowned(b)
		}
	}
	return nil
}

func (a *assembler) giveAll(ctx context.Context) error {
	ids := make([]string, 0, len(a.piles))
	for id := range a.piles {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
	for _, id := range ids {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.give(id); err != nil {
			return err
		}
	}
	return nil
}

// give gives out what has come of an operation, and forgets it.
func (a *assembler) give(id string) error {
	pile := a.piles[id]
	delete(a.piles, id)
	whole := 0
	for _, r := range pile {
		if r.Part.Total == 0 {
			whole++
		}
	}
	records, broken := joinParts(pile)
	a.summary.Records += len(records) - whole
	if len(records) == 0 {
		for _, b := range broken {
			a.unowned(b)
		}
		return nil
	}
	for i, part := range divide(records) {
		s := newSession(part)
		if i == 0 {
			s.Broken = append(a.lost[id], broken...)
			delete(a.lost, id)
		}
		if s.Started.Before(a.sel.Since) {
			continue
		}
		a.summary.Sessions++
		if err := a.each(s); err != nil {
			return err
		}
	}
	return nil
}

// divide keeps sessions of two installations apart.
func divide(records []*Record) [][]*Record {
	var begun []string
	for _, r := range records {
		if c := r.Operation.Container; r.Sequence == 1 && r.Event == schema.EventStart && !slices.Contains(begun, c) {
			begun = append(begun, c)
		}
	}
	if len(begun) < 2 {
		return [][]*Record{records}
	}
	parts := make([][]*Record, len(begun))
	for _, r := range records {
		i := max(slices.Index(begun, r.Operation.Container), 0)
		parts[i] = append(parts[i], r)
	}
	return parts
}

// newSession puts together what came of an operation.
func newSession(records []*Record) *Session {
	s := new(Session)
	slices.SortStableFunc(records, func(a, b *Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, r := range records {
		into := &s.Records
		if r.ToldGap() {
			into = &s.Gaps
		}
		repeat := false
		for _, before := range slices.Backward(*into) {
			if before.Sequence != r.Sequence {
				break
			}
			repeat = repeat || same(before, r)
		}
		if repeat {
			s.Repeats++
			continue
		}
		*into = append(*into, r)
		s.Lost |= r.Lost
	}
	s.Operation, s.Started = describe(records)
	return s
}

// same says whether two records have the same content.
func same(a, b *Record) bool {
	return a.Event == b.Event && a.Stream == b.Stream && a.Partial == b.Partial && a.Sequence == b.Sequence && a.Offset == b.Offset &&
		(a.Time == b.Time || a.Lost.Has(LostTime)) && a.Digest == b.Digest && a.TextDigest == b.TextDigest && a.Lost == b.Lost &&
		bytes.Equal(a.Log, b.Log) && bytes.Equal(a.Text, b.Text) && bytes.Equal(a.Timing, b.Timing) &&
		*a.Operation == *b.Operation && reflect.DeepEqual(a.Detail, b.Detail) && slices.Equal(a.Faults, b.Faults)
}

// describe says what the records, of which there is one at least, tell of their operation.
func describe(records []*Record) (*schema.Operation, time.Time) {
	op := *records[0].Operation
	if !op.Started.IsZero() {
		return &op, op.Started
	}
	var started int64
	for _, r := range records {
		if r.Time != 0 && (started == 0 || r.Time < started) {
			started = r.Time
		}
		if r.Event == schema.EventStart && r.Detail != nil {
			op = *r.Operation
			op.Command, op.Width, op.Height = r.Detail.Command, r.Detail.Width, r.Detail.Height
			op.Interactive = r.Detail.Interactive != nil && *r.Detail.Interactive
		}
	}
	if started == 0 {
		return &op, time.Time{}
	}
	op.Started = time.Unix(0, started)
	return &op, op.Started
}
