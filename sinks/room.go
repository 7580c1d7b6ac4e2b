package sinks

import "slices"

// sampled is how many entries of a batch tell how long the others are, about.
const sampled = 32

// Room makes room for the rest of a batch, all of whose entries are to be encoded behind each
// other, and the first n are in dst: append would make it piece by piece, and copy what is there
// each time. The rest is taken to be as long as these on average, and all together to be most bytes
// at the most, with a little more. It does so once, when n is enough to tell, and otherwise gives
// dst as it is.
func Room(dst []byte, n, all, most int) []byte {
	if n != sampled {
		return dst
	}
	each := len(dst) / n
	return slices.Grow(dst, min(each*(all-n), most-len(dst))+each*n)
}
