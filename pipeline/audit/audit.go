package audit

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// A Checker checks sessions. It does not change, and is safe for concurrent use.
type Checker struct {
	// Keys are those that may have signed; nil for not looking at signatures, without which nothing is
	// proven.
	Keys *identity.KeySet
	// Runs says whether a session runs, as far as anybody knows; nil for not.
	Runs func(operation string) bool
}

// Check says of a session whether it is complete and intact. What it takes is in proportion to the
// session's bytes, and where records were taken to other places at most a few seconds more.
func (c *Checker) Check(s *replay.Session) Result {
	r := Result{Operation: s.Operation.ID, App: s.Operation.App, Started: s.Started, Records: len(s.Records) + s.Repeats, Repeats: s.Repeats}
	if r.User = s.Operation.User.Name; s.Operation.User.Email != "" {
		r.User += " <" + s.Operation.User.Email + ">"
	}
	w := newWalk(c, s, &r)
	w.walk()
	w.finish()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.First, b.First) })
	r.judge()
	return r
}

// A walk goes through one session. It is for one goroutine.
type walk struct {
	checker *Checker
	session *replay.Session
	result  *Result

	records []*replay.Record // in the order of their sequence
	used    []bool           // which of them have found their place
	common  schema.Operation // what most of the records say
	end     *replay.Record   // nil for none
	totals  *totals          // that are signed; nil for none
	broken  map[uint64]replay.Broken
	all     replay.Lost // what every output record lacks

	chain   chain
	deadAt  uint64           // the first sequence that nothing proves any more; 0 for none
	content []*replay.Record // what was found at each sequence, from 1 on; nil where nothing was
	budget  int              // bytes that may be hashed yet in looking for records at other places
	mended  bool             // a record was not what it should be, so that the sums may differ
	// open says of each stream that its last line has ended without a newline: it does not go on
	// before a gap or the end.
	open [2]bool
	// input is the digest of the input records so far, and inputBytes the number of their bytes.
	input      hash.Hash
	inputBytes uint64
}

const searchBudget = 1 << 30

func newWalk(c *Checker, s *replay.Session, r *Result) *walk {
	w := &walk{checker: c, session: s, result: r, records: slices.Clone(s.Records), budget: searchBudget, broken: make(map[uint64]replay.Broken), input: sha256.New()}
	w.chain = newChain()
	count := make(map[schema.Operation]int)
	w.all = ^replay.Lost(0)
	for _, one := range w.records {
		count[*one.Operation]++
		if count[*one.Operation] > count[w.common] {
			w.common = *one.Operation
		}
		if one.Event == schema.EventOutput {
			w.all &= one.Lost
		}
	}
	for _, b := range s.Broken {
		if _, twice := w.broken[b.Sequence]; twice || b.Sequence == 0 {
			w.add(Finding{Kind: Changed, First: b.Sequence, Last: b.Sequence, Place: &b.Place, What: "it can't be read: " + b.What})
			continue
		}
		w.broken[b.Sequence] = b
	}
	w.findEnd()
	w.used = make([]bool, len(w.records))
	return w
}

// add notes what was found.
func (w *walk) add(f Finding) {
	list := &w.result.Findings
	if n := len(*list); n > 0 {
		last := &(*list)[n-1]
		if last.Kind == f.Kind && last.First == f.First && last.Last == f.Last && samePlace(last.Place, f.Place) {
			last.What += "; " + f.What
			return
		}
		if n == most {
			*last = Finding{Kind: last.Kind, First: last.First, Last: f.Last, What: "there is more than is told here"}
			return
		}
	}
	*list = append(*list, f)
}

// sortRecords sorts by sequence, and leaves those with the same as they are.
func sortRecords(list []*replay.Record) {
	slices.SortStableFunc(list, func(a, b *replay.Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

func samePlace(a, b *replay.Place) bool { return a == b || a != nil && b != nil && *a == *b }

// at is a finding about one record at a sequence.
func (w *walk) at(kind Kind, sequence uint64, r *replay.Record, what string) {
	f := Finding{Kind: kind, First: sequence, Last: sequence, What: what}
	if r != nil {
		place, offset := r.Place, r.Offset
		f.Place, f.Offset = &place, &offset
	}
	w.add(f)
}

// last is the greatest sequence that the session can have.
func (w *walk) last() uint64 {
	if w.end != nil {
		return w.end.Sequence
	}
	return ^uint64(0)
}

// group gives the indexes of the records that stand at a sequence and have not found their place.
func (w *walk) group(sequence uint64) []int {
	i, _ := slices.BinarySearchFunc(w.records, sequence, func(r *replay.Record, n uint64) int { return cmp.Compare(r.Sequence, n) })
	var group []int
	for ; i < len(w.records) && w.records[i].Sequence == sequence; i++ {
		if !w.used[i] {
			group = append(group, i)
		}
	}
	return group
}

// following is the index of the first record behind a sequence that has not found its place, and is
// not behind the end; -1 for none.
func (w *walk) following(sequence uint64) int {
	i, _ := slices.BinarySearchFunc(w.records, sequence+1, func(r *replay.Record, n uint64) int { return cmp.Compare(r.Sequence, n) })
	for ; i < len(w.records) && w.records[i].Sequence <= w.last(); i++ {
		if !w.used[i] {
			return i
		}
	}
	return -1
}

// walk looks for the record of one sequence after another.
func (w *walk) walk() {
	for n := uint64(1); n != 0 && n <= w.last(); { // 0 comes behind the greatest there is
		if w.chain.dead() && w.deadAt == 0 {
			w.deadAt = n
		}
		group := w.group(n)
		if i := slices.IndexFunc(group, func(i int) bool { return w.chain.follows(w.records[i], w.records[i]) == yes }); i >= 0 {
			w.place(n, group[i])
			w.rest(n, group, group[i])
			n++
			continue
		}
		next := w.following(n)
		if len(group) == 0 && next < 0 && w.end == nil {
			return
		}
		if len(group) == 0 && next >= 0 && w.nothingBefore(next) {
			n = w.missing(n, next)
			continue
		}
		if len(group) > 0 && w.chain.follows(w.records[group[0]], w.records[group[0]]) == unknown {
			w.place(n, group[0])
			w.rest(n, group, group[0])
			n++
			continue
		}
		if found, exchanged := w.elsewhere(n, group); found >= 0 {
			moved := w.records[found]
			w.at(Reordered, n, moved, fmt.Sprintf("what belongs here is in the record with the sequence %d", moved.Sequence))
			if exchanged {
				w.at(Reordered, moved.Sequence, w.records[group[0]], fmt.Sprintf("what belongs here is in the record with the sequence %d", n))
				w.exchange(found, group[0])
				found = group[0]
			}
			w.place(n, found)
			n++
			continue
		}
		if len(group) > 0 {
			w.damaged(n, group)
			n++
		} else {
			n = w.missing(n, next)
		}
	}
}

// rest are records that stand at a sequence beside the one that belongs there.
func (w *walk) rest(n uint64, group []int, but int) {
	for _, i := range group {
		// One that belongs elsewhere is looked for there; what is left in the end is one too many.
		if i != but && !w.used[i] && w.chain.dead() {
			w.used[i] = true
			w.extra(n, w.records[i])
		}
	}
}

// extra is a record that is one too many.
func (w *walk) extra(n uint64, r *replay.Record) {
	if w.isForeign(r) {
		w.at(Foreign, n, r, "it is a record of another session")
		return
	}
	what := "the session has no such record"
	if n == 0 {
		what = "it has no sequence"
	}
	if n > 0 && n <= uint64(len(w.content)) && w.content[n-1] != nil {
		what = "another record has this sequence, and belongs here"
	}
	w.at(Added, n, r, what)
}

// isForeign says whether a record says of itself that it is one of another session.
func (w *walk) isForeign(r *replay.Record) bool {
	return slices.Contains(r.Faults, replay.FaultIDs) || r.Operation.Container != w.common.Container || r.Operation.UserDocument != w.common.UserDocument
}

// place puts a record to a sequence.
func (w *walk) place(n uint64, i int) {
	content := w.records[i]
	w.used[i] = true
	w.keep(n, content)
	if problem := w.chain.advance(content); problem != "" && content.Sequence == n { // of one that was moved, the offset may be that of its old place
		w.at(Changed, n, content, problem)
	}
	w.inspect(n, content)
	if b, ok := w.broken[n]; ok {
		delete(w.broken, n)
		w.add(Finding{Kind: Changed, First: n, Last: n, Place: &b.Place, What: "a repeat of it can't be read: " + b.What})
	}
}

func (w *walk) keep(n uint64, content *replay.Record) {
	if n > uint64(len(w.records))*2+1<<16 { // a sequence that nothing leads to
		return
	}
	for uint64(len(w.content)) < n {
		w.content = append(w.content, nil)
	}
	w.content[n-1] = content
}

// damaged notes that the record at a sequence is not the one that belongs there.
func (w *walk) damaged(n uint64, group []int) {
	r := w.records[group[0]]
	w.used[group[0]] = true
	if w.isForeign(r) {
		w.at(Foreign, n, r, "a record of another session is in the place of this one")
		w.chain.lose()
		w.rest(n, group, group[0])
		return
	}
	var next *replay.Record
	if after := w.group(n + 1); len(after) > 0 {
		next = w.records[after[0]]
	}
	w.keep(n, r)
	w.mended = true
	w.at(Changed, n, r, w.chain.mend(r, next))
	w.inspect(n, r)
	w.open = [2]bool{}
	w.rest(n, group, group[0])
}

// nothingBefore says whether what is missing before a record has no bytes: the record follows all
// the same, and so does the one behind it.
func (w *walk) nothingBefore(i int) bool {
	r := w.records[i]
	if !w.chain.bytesKnown || w.chain.textKnown && r.Lost&(replay.LostText|replay.LostTextDigest) == 0 {
		return false
	}
	if r.Lost.Has(replay.LostLog) || w.chain.follows(r, r) != yes || w.chain.offsetKnown && r.Offset != w.chain.offset {
		return false
	}
	after := w.group(r.Sequence + 1)
	return len(after) == 0 || w.chain.followedBy(r, w.records[after[0]])
}

// missing notes that the records from n up to the one with the index next, or up to the end, are
// not there. It gives the sequence to go on with.
func (w *walk) missing(n uint64, next int) uint64 {
	upTo := w.last() // the last that is missing
	if next >= 0 {
		upTo = w.records[next].Sequence - 1
	}
	nothing := next >= 0 && w.nothingBefore(next)
	for from := n; from <= upTo; {
		to := upTo
		gap := w.toldGap(from)
		if gap != nil && gap.Sequence <= from {
			to = min(upTo, gap.Detail.LastSequence)
			w.told(from, to, gap)
		} else {
			if gap != nil {
				to = min(upTo, gap.Sequence-1)
			}
			w.absent(from, to)
		}
		from = to + 1
		if from == 0 { // behind the greatest there is
			break
		}
	}
	if nothing {
		w.chain.loseText()
	} else {
		w.chain.lose()
	}
	return upTo + 1
}

// absent notes that records are missing, or can't be read.
func (w *walk) absent(from, to uint64) {
	for from <= to {
		stop := to
		for at := range w.broken {
			if at >= from && at <= stop {
				stop = at
			}
		}
		b, unreadable := w.broken[stop]
		if unreadable {
			stop--
		}
		if from <= stop {
			f := Finding{Kind: Missing, First: from, Last: stop, What: "not there"}
			if w.chain.offsetKnown && from == uint64(len(w.content))+1 {
				offset := w.chain.offset
				f.Offset = &offset
			}
			w.add(f)
		}
		if unreadable {
			stop++
			delete(w.broken, stop)
			w.add(Finding{Kind: Changed, First: stop, Last: stop, Place: &b.Place, What: "it can't be read: " + b.What})
		}
		from = stop + 1
		if from == 0 {
			return
		}
	}
}

// toldGap is the first gap that the drain was told of which ends at a sequence or behind it; nil
// for none.
func (w *walk) toldGap(from uint64) *replay.Record {
	var first *replay.Record
	for _, g := range w.session.Gaps {
		if g.Detail.LastSequence >= from && g.Sequence <= w.last() && (first == nil || g.Sequence < first.Sequence) {
			first = g
		}
	}
	return first
}

func (w *walk) told(from, to uint64, gap *replay.Record) {
	place, offset := gap.Place, gap.Offset
	what := "a gap tells that this drain did not get them"
	if gap.Detail.Uncertain {
		what = "a gap tells that this drain may not have got them"
	}
	w.add(Finding{Kind: Gap, First: from, Last: to, Offset: &offset, Place: &place, What: what})
}
