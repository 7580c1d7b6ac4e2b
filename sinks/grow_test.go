package sinks_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
)

// TestGrowForBatch encodes batches whose entries are equally long: the rest of a batch needs no
// further copy, and the buffer is little larger than a request may be.
func TestGrowForBatch(t *testing.T) {
	const all = 1000
	entry := bytes.Repeat([]byte("x"), 100)
	for _, c := range []struct{ most, least, atMost int }{
		{math.MaxInt, all * len(entry), 2 * all * len(entry)},
		{20 * all, 20 * all, 40 * all},
	} {
		var dst []byte
		copies := 0 // after the first entries
		for n := range all {
			if n == 40 {
				copies = 0
			}
			before := cap(dst)
			dst = sinks.GrowForBatch(dst, n, all, c.most)
			if len(dst) != n*len(entry) {
				t.Fatalf("%d bytes of %d entries", len(dst), n)
			}
			if len(dst)+len(entry) > c.most {
				break
			}
			if dst = append(dst, entry...); cap(dst) != before {
				copies++
			}
		}
		if copies != 0 || cap(dst) < c.least || cap(dst) > c.atMost {
			t.Errorf("at most %d bytes: %d copies, and room for %d", c.most, copies, cap(dst))
		}
	}
}
