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

// Checker verifies sessions. It is immutable and safe for concurrent use.
type Checker struct {
	// Keys are the trusted signing keys. nil skips the verification of signatures; then nothing is
	// proven.
	Keys *identity.KeySet
	// Runs reports whether a session is still running; nil if that is not known.
	Runs func(operation string) bool
	// Checked, unless it is nil, is called by Audit with each session and its result.
	Checked func(*replay.Session, *Result)
}

// Check verifies that a session is complete and unaltered. Its cost is proportional to the
// session's bytes; if records were moved to other places it takes at most a few seconds more.
func (c *Checker) Check(s *replay.Session) Result {
	r := Result{Operation: s.Operation.ID, App: s.Operation.App, Started: s.Started, Records: len(s.Records) + s.Repeats, Repeats: s.Repeats}
	r.User = UserText(s.Operation.User.Name, s.Operation.User.Email)
	w := newWalk(c, s, &r)
	w.walk()
	w.finish()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.First, b.First) })
	r.judge()
	return r
}

// walk is the audit of one session. It is not safe for concurrent use.
type walk struct {
	checker *Checker
	session *replay.Session
	result  *Result

	records []*replay.Record // sorted by sequence
	used    []bool           // by index: the record has been placed
	common  schema.Operation // the operation according to most records
	start   start
	end     *replay.Record // nil if there is none
	totals  *schema.Totals // the signed ones; nil if there are none
	broken  map[uint64]replay.Broken
	all     replay.Lost // the fields that all output records lack
	lost    replay.Lost // the fields that some record lacks

	chain   chain
	deadAt  uint64                    // the first sequence that cannot be proven; 0 if there is none
	content []*replay.Record          // the records by sequence, from 1; nil where none was found
	gaps    []*replay.Record          // those of the session that count
	drains  map[*replay.Record]string // by gap: the drain that did not get records
	budget  int                       // remaining number of bytes to hash in the search for records at other places
	mended  bool                      // a record was altered, so the totals may differ
	// fields are the digests of fields and timing so far; nil if they are not known. timed reports
	// that all output so far has its timing, and fine that times are more exact than milliseconds.
	fields *schema.FieldDigests
	forms  map[string]Finding // by the deviation from the form of records
	// shown are the texts of the copy where they were replaced by those that were recorded.
	shown       map[*replay.Record][]byte
	timed, fine bool
	checked     checked
	// complete is, by stream, the last record if its line was marked complete although it had no
	// newline: it must only be followed by a gap or the end; nil for none.
	complete [2]*replay.Record
	// input is the running digest of the input records, and inputBytes the number of their bytes.
	input      hash.Hash
	inputBytes uint64
}

const searchBudget = 1 << 30

func newWalk(c *Checker, s *replay.Session, r *Result) *walk {
	w := &walk{checker: c, session: s, result: r, records: slices.Clone(s.Records), budget: searchBudget, broken: make(map[uint64]replay.Broken), input: sha256.New(), timed: true, forms: make(map[string]Finding), shown: make(map[*replay.Record][]byte), drains: make(map[*replay.Record]string)}
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
		w.lost |= one.Lost
	}
	for _, b := range s.Broken {
		if _, twice := w.broken[b.Sequence]; twice || b.Sequence == 0 {
			w.add(Finding{Kind: Changed, First: b.Sequence, Last: b.Sequence, Place: &b.Place, What: "unreadable: " + b.What})
			continue
		}
		w.broken[b.Sequence] = b
	}
	w.findStart()
	w.findEnd()
	w.checkGaps()
	w.restoreTexts()
	w.used = make([]bool, len(w.records))
	return w
}

// add appends a finding.
func (w *walk) add(f Finding) {
	list := &w.result.Findings
	if n := len(*list); n > 0 {
		last := &(*list)[n-1]
		if last.Kind == f.Kind && last.First == f.First && last.Last == f.Last && samePlace(last.Place, f.Place) {
			last.What += "; " + f.What
			return
		}
		if n == maxFindings {
			*last = Finding{Kind: last.Kind, First: last.First, Last: f.Last, What: "there are more findings than reported here"}
			return
		}
	}
	*list = append(*list, f)
}

// sortRecords sorts records by sequence, with a stable order of equal ones.
func sortRecords(list []*replay.Record) {
	slices.SortStableFunc(list, func(a, b *replay.Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

func samePlace(a, b *replay.Place) bool { return a == b || a != nil && b != nil && *a == *b }

// at adds a finding about one record.
func (w *walk) at(kind Kind, sequence uint64, r *replay.Record, what string) {
	f := Finding{Kind: kind, First: sequence, Last: sequence, What: what}
	if r != nil {
		place, offset := r.Place, r.Offset
		f.Place, f.Offset = &place, &offset
	}
	w.add(f)
}

// last returns the last possible sequence of the session.
func (w *walk) last() uint64 {
	if w.end != nil {
		return w.end.Sequence
	}
	return ^uint64(0)
}

// group returns the indexes of the records with this sequence that have not been placed.
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

// following returns the index of the first record after a sequence, up to the end, that has not
// been placed, or -1.
func (w *walk) following(sequence uint64) int {
	i, _ := slices.BinarySearchFunc(w.records, sequence+1, func(r *replay.Record, n uint64) int { return cmp.Compare(r.Sequence, n) })
	for ; i < len(w.records) && w.records[i].Sequence <= w.last(); i++ {
		if !w.used[i] {
			return i
		}
	}
	return -1
}

// walk finds the record of each sequence.
func (w *walk) walk() {
	for n := uint64(1); n != 0 && n <= w.last(); { // 0 after an overflow
		if w.chain.dead() && w.deadAt == 0 {
			w.deadAt = n
		}
		group := w.group(n)
		if i := slices.IndexFunc(group, func(i int) bool { return w.chain.follows(w.records[i], w.records[i]) == yes }); i >= 0 {
			w.place(n, group[i])
			w.others(n, group, group[i])
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
			w.others(n, group, group[0])
			n++
			continue
		}
		if found, exchanged := w.elsewhere(n, group); found >= 0 {
			moved := w.records[found]
			w.at(Reordered, n, moved, fmt.Sprintf("the content that belongs here is in the record with sequence %d", moved.Sequence))
			if exchanged {
				w.at(Reordered, moved.Sequence, w.records[group[0]], fmt.Sprintf("the content that belongs here is in the record with sequence %d", n))
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

// others handles the other records with the sequence of a record that has been placed.
func (w *walk) others(n uint64, group []int, but int) {
	for _, i := range group {
		// A record that belongs elsewhere is found there; the remaining ones are extra.
		if i != but && !w.used[i] && w.chain.dead() {
			w.used[i] = true
			w.extra(n, w.records[i])
		}
	}
}

// extra adds a finding for a record that does not belong to the session.
func (w *walk) extra(n uint64, r *replay.Record) {
	if w.isForeign(r) {
		w.at(Foreign, n, r, "the record belongs to another session")
		return
	}
	what := "the session does not have this record"
	if n == 0 {
		what = "the record has no sequence"
	}
	if n > 0 && n <= uint64(len(w.content)) && w.content[n-1] != nil {
		what = "another record with this sequence belongs here"
	}
	w.at(Added, n, r, what)
}

// isForeign reports whether a record's own fields refer to another session.
func (w *walk) isForeign(r *replay.Record) bool {
	return slices.Contains(r.Faults, replay.FaultIDs) || r.Operation.Container != w.common.Container || r.Operation.UserDocument != w.common.UserDocument
}

// place assigns a record to a sequence.
func (w *walk) place(n uint64, i int) {
	content := w.records[i]
	w.used[i] = true
	w.keep(n, content)
	if problem := w.chain.advance(content); problem != "" && content.Sequence == n { // a moved record may have the offset of its old place
		w.at(Changed, n, content, problem)
	}
	w.addFields(content)
	w.inspect(n, content)
	if b, ok := w.broken[n]; ok {
		delete(w.broken, n)
		w.add(Finding{Kind: Changed, First: n, Last: n, Place: &b.Place, What: "a duplicate is unreadable: " + b.What})
	}
}

func (w *walk) keep(n uint64, content *replay.Record) {
	if n > uint64(len(w.records))*2+1<<16 { // an implausible sequence
		return
	}
	for uint64(len(w.content)) < n {
		w.content = append(w.content, nil)
	}
	w.content[n-1] = content
}

// damaged adds a finding for a sequence whose record is altered or foreign.
func (w *walk) damaged(n uint64, group []int) {
	r := w.records[group[0]]
	w.used[group[0]] = true
	if w.isForeign(r) {
		w.at(Foreign, n, r, "replaced by a record of another session")
		w.chain.lose()
		w.fields = nil
		w.others(n, group, group[0])
		return
	}
	var next *replay.Record
	if after := w.group(n + 1); len(after) > 0 {
		next = w.records[after[0]]
	}
	w.keep(n, r)
	w.mended, w.fields = true, nil
	w.at(Changed, n, r, w.chain.mend(r, next))
	w.inspect(n, r)
	w.complete = [2]*replay.Record{}
	w.others(n, group, group[0])
}

// nothingBefore reports whether the records missing before a record had no bytes, which is the case
// if the record and its successor follow in the byte digest.
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

// missing adds findings for the missing records from n up to the record with index next, or up to
// the end. It returns the sequence to continue with.
func (w *walk) missing(n uint64, next int) uint64 {
	upTo := w.last() // the last missing sequence
	if next >= 0 {
		upTo = w.records[next].Sequence - 1
	}
	nothing := next >= 0 && w.nothingBefore(next)
	w.fields = nil
	for from := n; from <= upTo; {
		to := upTo
		gap := w.drainGap(from)
		if gap != nil && gap.Sequence <= from {
			to = min(upTo, gap.Detail.LastSequence)
			w.addGap(from, to, gap)
		} else {
			if gap != nil {
				to = min(upTo, gap.Sequence-1)
			}
			w.absent(from, to)
		}
		from = to + 1
		if from == 0 { // overflow
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

// absent adds findings for records that are missing or unreadable.
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
			f := Finding{Kind: Missing, First: from, Last: stop, What: "not in the copy"}
			if w.chain.offsetKnown && from == uint64(len(w.content))+1 {
				offset := w.chain.offset
				f.Offset = &offset
			}
			w.add(f)
		}
		if unreadable {
			stop++
			delete(w.broken, stop)
			w.add(Finding{Kind: Changed, First: stop, Last: stop, Place: &b.Place, What: "unreadable: " + b.What})
		}
		from = stop + 1
		if from == 0 {
			return
		}
	}
}

// drainGap returns the first gap of undelivered records that ends at or after a sequence, or nil.
func (w *walk) drainGap(from uint64) *replay.Record {
	var first *replay.Record
	for _, g := range w.gaps {
		if g.Detail.LastSequence >= from && g.Sequence <= w.last() && (first == nil || g.Sequence < first.Sequence) {
			first = g
		}
	}
	return first
}

func (w *walk) addGap(first, last uint64, gap *replay.Record) {
	place, offset := gap.Place, gap.Offset
	to := "this drain"
	if drain := w.drains[gap]; drain != "" {
		to = "the drain " + drain
	}
	what := "a gap record reports that they were not delivered to " + to
	if gap.Detail.Uncertain {
		what = "a gap record reports that they may not have been delivered to " + to
	}
	w.add(Finding{Kind: Gap, First: first, Last: last, Offset: &offset, Place: &place, What: what})
}
