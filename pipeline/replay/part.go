package replay

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxParts bounds the number of parts of a record.
	maxParts = 99999
	// maxJoined bounds the number of different records that are joined from one group of parts.
	maxJoined = 8
)

// Part identifies the part of a record that a syslog message contains. The zero value means a whole
// record.
type Part struct {
	Number, Total int
	Offset        int // of the part's content within the record's
}

var errPart = errors.New("the part is not of the form NUMBER/TOTAL with an offset")

// parsePart parses the parameters part and part_offset.
func parsePart(part, offset string) (p Part, err error) {
	number, total, ok := strings.Cut(part, "/")
	if p.Number, err = strconv.Atoi(number); err != nil || !ok {
		return Part{}, errPart
	}
	if p.Total, err = strconv.Atoi(total); err != nil || p.Number < 1 || p.Number > p.Total || p.Total > maxParts {
		return Part{}, errPart
	}
	if p.Offset, err = strconv.Atoi(offset); err != nil || p.Offset < 0 {
		return Part{}, errPart
	}
	return p, nil
}

// texts returns the fields of a record's detail that can be divided into parts.
func texts(d *schema.Detail) []*string {
	if d == nil {
		return nil
	}
	return []*string{&d.Command, &d.Reason, &d.EndedBy, &d.EndedBecause, &d.Path, &d.Signature}
}

// end returns the offset at which the next part begins.
func (r *Record) end() int {
	end := r.Part.Offset + len(r.Text) + len(r.Log) + len(r.Timing)
	for _, s := range texts(r.Detail) {
		end += len(*s)
	}
	if r.Detail != nil {
		end += len(r.Detail.Input)
	}
	return end
}

// partKey holds the fields that all parts of one record have in common.
type partKey struct {
	operation          schema.Operation
	event              schema.Event
	stream             schema.Stream
	partial            bool
	sequence, offset   uint64
	time               int64
	digest, textDigest schema.Digest
	total              int
}

func keyOf(r *Record) partKey {
	k := partKey{*r.Operation, r.Event, r.Stream, r.Partial, r.Sequence, r.Offset, r.Time, r.Digest, r.TextDigest, r.Part.Total}
	if r.Lost.Has(LostTime) {
		k.time = 0
	}
	return k
}

// piece is a part with the number of times that it was received.
type piece struct {
	*Record
	count int
	used  bool // it has become part of a record
}

// joinParts replaces the parts in records by the joined records. A record whose parts were received
// several times is returned as often. broken describes the records with missing or contradictory
// parts.
func joinParts(records []*Record) (joined []*Record, broken []Broken) {
	if !slices.ContainsFunc(records, func(r *Record) bool { return r.Part.Total > 0 }) {
		return records, nil
	}
	groups := make(map[partKey]map[int][]*piece) // by the part's number
	var order []partKey
	for _, r := range records {
		if r.Part.Total == 0 {
			joined = append(joined, r)
			continue
		}
		key := keyOf(r)
		if groups[key] == nil {
			groups[key] = make(map[int][]*piece)
			order = append(order, key)
		}
		group := groups[key]
		i := slices.IndexFunc(group[r.Part.Number], func(p *piece) bool { return p.Part == r.Part && samePiece(p.Record, r) })
		if i < 0 {
			group[r.Part.Number] = append(group[r.Part.Number], &piece{Record: r, count: 1})
		} else {
			group[r.Part.Number][i].count++
		}
	}
	for _, key := range order {
		joined = append(joined, joinGroup(groups[key], key.total)...)
	}
	for _, key := range order {
		if b, ok := leftOver(groups[key], key.total, joined); ok {
			broken = append(broken, b)
		}
	}
	return joined, broken
}

func samePiece(a, b *Record) bool {
	return a.Lost == b.Lost && bytes.Equal(a.Log, b.Log) && bytes.Equal(a.Text, b.Text) && bytes.Equal(a.Timing, b.Timing) &&
		reflect.DeepEqual(a.Detail, b.Detail) && slices.Equal(a.Faults, b.Faults)
}

// joinGroup joins the parts of one record. If there are different parts with the same number, it
// returns as many records as needed to use each of them, at most maxJoined.
func joinGroup(group map[int][]*piece, total int) (joined []*Record) {
	if len(group) < total {
		return nil
	}
	for range maxJoined {
		chain := nextChain(group, total)
		if chain == nil {
			return joined
		}
		r, times := join(chain)
		for range times {
			joined = append(joined, r)
		}
	}
	return joined
}

// nextChain returns a chain of consecutive parts, one of each number, with at least one unused
// part. It returns nil if there is none.
func nextChain(group map[int][]*piece, total int) []*piece {
	for number := 1; number <= total; number++ {
		for _, start := range group[number] {
			if start.used {
				continue
			}
			if chain := chainThrough(group, total, start); chain != nil {
				return chain
			}
		}
	}
	return nil
}

// chainThrough returns a chain of consecutive parts that contains start, or nil.
func chainThrough(group map[int][]*piece, total int, start *piece) []*piece {
	chain := make([]*piece, total)
	chain[start.Part.Number-1] = start
	for n := start.Part.Number - 1; n >= 1; n-- {
		after := chain[n]
		chain[n-1] = pick(group[n], func(p *piece) bool { return p.end() == after.Part.Offset })
		if chain[n-1] == nil {
			return nil
		}
	}
	if chain[0].Part.Offset != 0 {
		return nil
	}
	for n := start.Part.Number + 1; n <= total; n++ {
		before := chain[n-2]
		chain[n-1] = pick(group[n], func(p *piece) bool { return p.Part.Offset == before.end() })
		if chain[n-1] == nil {
			return nil
		}
	}
	return chain
}

// pick returns the first piece that fits, preferring an unused one, or nil.
func pick(pieces []*piece, fits func(*piece) bool) (found *piece) {
	for _, p := range pieces {
		if fits(p) && (found == nil || found.used && !p.used) {
			found = p
		}
	}
	return found
}

// join joins parts into a record, and returns how often the complete record was received.
func join(chain []*piece) (r *Record, times int) {
	first := *chain[0].Record
	r, times = &first, chain[0].count
	if r.Detail != nil {
		detail := *r.Detail
		r.Detail = &detail
	}
	r.Part = Part{}
	r.Faults = nil
	var text, log, timing, input bytes.Buffer
	joined := texts(r.Detail)
	values := make([]strings.Builder, len(joined))
	absent := LostLog | LostTiming // missing from all parts so far
	for _, p := range chain {
		text.Write(p.Text)
		log.Write(p.Log)
		timing.Write(p.Timing)
		for i, s := range texts(p.Detail) {
			values[i].WriteString(*s)
		}
		if p.Detail != nil {
			input.Write(p.Detail.Input)
		}
		for _, fault := range p.Faults {
			if !slices.Contains(r.Faults, fault) {
				r.Faults = append(r.Faults, fault)
			}
		}
		absent &= p.Lost
		r.Lost |= p.Lost
		times = min(times, p.count)
		p.used = true
	}
	r.Lost = r.Lost&^(LostLog|LostTiming) | absent
	r.Text, r.Log, r.Timing = text.Bytes(), log.Bytes(), timing.Bytes()
	for i, s := range joined {
		*s = values[i].String()
	}
	if r.Detail != nil {
		r.Detail.Input = input.Bytes()
	}
	return r, times
}

// leftOver describes the unused parts of a group. Unused parts whose content is also in a record
// come from a repeat that was interrupted, and are not an error.
func leftOver(group map[int][]*piece, total int, records []*Record) (Broken, bool) {
	var first *piece
	for _, number := range slices.Sorted(maps.Keys(group)) {
		for _, p := range group[number] {
			if p.used || slices.ContainsFunc(records, func(r *Record) bool { return r.Sequence == p.Sequence && contains(r, p.Record) }) {
				continue
			}
			if first == nil {
				first = p
			}
		}
	}
	if first == nil {
		return Broken{}, false
	}
	b := Broken{Place: first.Place, Operation: first.Operation.ID, Sequence: first.Sequence}
	missing := total - len(group)
	switch {
	case missing == 1:
		n := 1
		for group[n] != nil {
			n++
		}
		b.What = fmt.Sprintf("part %d of %d is missing", n, total)
	case missing > 1:
		b.What = fmt.Sprintf("%d of %d parts are missing", missing, total)
	default:
		b.What = fmt.Sprintf("part %d of %d does not fit the others", first.Part.Number, total)
	}
	return b, true
}

// contains reports whether a record contains the content of a part.
func contains(r, part *Record) bool {
	whole, pieces := texts(r.Detail), texts(part.Detail)
	if len(whole) != len(pieces) || keyOf(r).withoutTotal() != keyOf(part).withoutTotal() {
		return false
	}
	for i, s := range pieces {
		if !strings.Contains(*whole[i], *s) {
			return false
		}
	}
	return bytes.Contains(r.Text, part.Text) && bytes.Contains(r.Log, part.Log) && bytes.Contains(r.Timing, part.Timing)
}

// withoutTotal returns the key without the number of parts, in which another division of the same
// record may differ.
func (k partKey) withoutTotal() partKey {
	k.total = 0
	return k
}
