package sinks

import "slices"

// sampled is the number of entries of a batch from whose lengths those of the others are estimated.
const sampled = 32

// GrowForBatch makes room in dst for the rest of a batch of total entries, the first n of which are
// encoded there: append would grow it step by step, and copy it each time. The estimate is the
// average length of the first entries, and all together at most limit bytes, plus a little. It
// grows once, when n is large enough for an estimate, and otherwise returns dst as it is.
func GrowForBatch(dst []byte, n, total, limit int) []byte {
	if n != sampled {
		return dst
	}
	each := len(dst) / n
	return slices.Grow(dst, min(each*(total-n), limit-len(dst))+each*n)
}
