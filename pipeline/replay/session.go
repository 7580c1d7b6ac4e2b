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

// Session holds the records of one operation in a copy.
type Session struct {
	// Operation is the operation as described by the records. Unless the copy is the stream,
	// Command, Interactive, Width and Height are from the start record, User.ID is from the user
	// document, whose signature is not verified, and Expires is zero.
	Operation *schema.Operation
	// Started is the start of the session according to the stream, or else the time of the earliest
	// record.
	Started time.Time
	// Records are sorted by sequence, without identical duplicates. Different records with the same
	// sequence are all present, in the order of arrival.
	Records []*Record
	// Gaps are the records that replace undelivered records, without duplicates: see
	// [Record.IsDrainGap]. Some of the undelivered records may have been delivered later.
	Gaps []*Record
	// Repeats is the number of duplicate records.
	Repeats int
	// Broken describes unreadable data that seems to belong to this session.
	Broken []Broken
	// Lost is the union of the fields that the records lack.
	Lost Lost
}

// End returns the end record, or nil if the session is still running or the record is missing.
func (s *Session) End() *Record {
	for _, r := range slices.Backward(s.Records) {
		if r.Event == schema.EventEnd {
			return r
		}
	}
	return nil
}

// Transcript returns one record of each sequence, in order: the first of several different ones. It
// does not verify that the records are complete and unaltered; that is the task of an audit.
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

// Summary counts the contents of a copy.
type Summary struct {
	Sessions int // sessions that were selected and returned
	Records  int // their records, including duplicates
	Tests    int // records of drain tests, which belong to no session
	Others   int // lines and documents that are not from ttydrain
	// Broken describes unreadable data that belongs to none of the returned sessions, at most 1000
	// items. BrokenCount is their total number.
	Broken      []Broken
	BrokenCount int
}

const (
	maxBroken = 1000
	// memoryLimit is the approximate number of bytes that Sessions keeps in memory.
	memoryLimit = 256 << 20
)

// Sessions reads a copy and calls each for every selected session. If all records fit into memory,
// the sessions are sorted by ID; if the copy is grouped, they are in its order; otherwise the order
// is undefined.
//
// Two sessions can have the same ID if a copy has records of two installations, or of an
// installation whose store was replaced. Containers that each have a start record with sequence 1
// are separate sessions.
func Sessions(ctx context.Context, c Copy, sel Selection, each func(*Session) error) (Summary, error) {
	return sessions(ctx, c, sel, memoryLimit, each)
}

func sessions(ctx context.Context, c Copy, sel Selection, limit int, each func(*Session) error) (Summary, error) {
	a := &assembler{sel: sel, each: each, limit: limit, groups: make(map[string][]*Record)}
	defer a.close()
	err := c.Read(ctx, Visitor{
		Record: func(r *Record) error {
			if schema.IsTest(r.Operation.ID) {
				a.summary.Tests++
				return nil
			}
			if !sel.Matches(r.Operation) {
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

// assembler groups records by operation. It is not safe for concurrent use.
type assembler struct {
	sel     Selection
	each    func(*Session) error
	limit   int
	groups  map[string][]*Record // records by operation
	size    int                  // approximate size of the records in groups, in bytes
	current string
	spool   *spool // nil until limit is reached
	summary Summary
	// lost holds the unreadable records by operation, at most maxBroken of each.
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
		if err := a.emit(a.current); err != nil {
			return err
		}
	}
	a.current = id
	a.groups[id] = append(a.groups[id], r)
	a.size += sizeOf(r)
	if a.size < a.limit || grouped {
		return nil
	}
	return a.spill()
}

// sizeOf returns the approximate memory size of a record.
func sizeOf(r *Record) int {
	return 400 + len(r.Log) + len(r.Text) + len(r.Timing)
}

// spill moves all records to the spool.
func (a *assembler) spill() error {
	if a.spool == nil {
		a.spool = new(spool)
	}
	for _, p := range a.groups {
		for _, r := range p {
			if err := a.spool.put(r); err != nil {
				return err
			}
		}
	}
	clear(a.groups)
	a.size = 0
	return nil
}

func (a *assembler) finish(ctx context.Context) error {
	if a.spool == nil {
		if err := a.emitAll(ctx); err != nil {
			return err
		}
	} else {
		if err := a.spill(); err != nil {
			return err
		}
		for i := range a.spool.parts {
			err := a.spool.read(i, func(r *Record) {
				a.groups[r.Operation.ID] = append(a.groups[r.Operation.ID], r)
			})
			if err != nil {
				return err
			}
			if err := a.emitAll(ctx); err != nil {
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

func (a *assembler) emitAll(ctx context.Context) error {
	ids := make([]string, 0, len(a.groups))
	for id := range a.groups {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
	for _, id := range ids {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.emit(id); err != nil {
			return err
		}
	}
	return nil
}

// emit passes the sessions of an operation to each and removes its records.
func (a *assembler) emit(id string) error {
	group := a.groups[id]
	delete(a.groups, id)
	whole := 0
	for _, r := range group {
		if r.Part.Total == 0 {
			whole++
		}
	}
	records, broken := joinParts(group)
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
		if s.Started.Before(a.sel.Since) || !a.sel.Until.IsZero() && !s.Started.Before(a.sel.Until) {
			continue
		}
		a.summary.Sessions++
		if err := a.each(s); err != nil {
			return err
		}
	}
	return nil
}

// divide separates the sessions of different installations.
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

// newSession builds a session from the records of an operation.
func newSession(records []*Record) *Session {
	s := new(Session)
	slices.SortStableFunc(records, func(a, b *Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, r := range records {
		into := &s.Records
		if r.IsDrainGap() {
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

// same reports whether two records have the same content.
func same(a, b *Record) bool {
	return a.Event == b.Event && a.Stream == b.Stream && a.Partial == b.Partial && a.Sequence == b.Sequence && a.Offset == b.Offset &&
		(a.Time == b.Time || a.Lost.Has(LostTime)) && a.Digest == b.Digest && a.TextDigest == b.TextDigest && a.Lost == b.Lost &&
		bytes.Equal(a.Log, b.Log) && bytes.Equal(a.Text, b.Text) && bytes.Equal(a.Timing, b.Timing) &&
		*a.Operation == *b.Operation && reflect.DeepEqual(a.Detail, b.Detail) && slices.Equal(a.Faults, b.Faults) && slices.Equal(a.Form, b.Form)
}

// describe returns the operation and the start time according to the records, of which there is at
// least one.
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
			op.Origin = r.Detail.Origin
		}
	}
	if started == 0 {
		return &op, time.Time{}
	}
	op.Started = time.Unix(0, started)
	return &op, op.Started
}
