package sinks

import (
	"math/bits"

	"github.com/ttydrain/ttydrain/schema"
)

// laneRecords is how many records there are for each lane at the least: fewer are sent together.
const laneRecords = 1000

// A Splitter parts batches into lanes, whose requests can be under way side by side: all records of an operation are in one lane, in
// their order. It is for one goroutine; the zero value is ready.
type Splitter struct {
	lanes [][]int
}

// Split gives the indices of the entries of each lane, of which there are most at the most, and none is empty. They are
// good until the next call.
//
// An operation's lane depends on its ID and the number of lanes alone, and that is a power of two: what a
// drain did not take of one lane is one lane again, however few they are, so that a request which is repeated has the same
// records.
func (s *Splitter) Split(batch []Entry, most int) [][]int {
	n := 1 << (bits.Len(uint(max(1, min(most, 1+len(batch)/laneRecords)))) - 1)
	for len(s.lanes) < n {
		s.lanes = append(s.lanes, nil)
	}
	all := s.lanes[:n]
	for i := range all {
		all[i] = all[i][:0]
	}
	var last *schema.Operation
	lane := 0
	for i := range batch {
		if op := batch[i].Operation; op != last {
			lane, last = int(laneOf(op.ID))&(n-1), op
		}
		all[lane] = append(all[lane], i)
	}
	filled := make([][]int, 0, n)
	for _, lane := range all {
		if len(lane) > 0 {
			filled = append(filled, lane)
		}
	}
	return filled
}

// laneOf is FNV-1a, folded so that few bits of it will do.
func laneOf(id string) uint32 {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return h ^ h>>16
}
