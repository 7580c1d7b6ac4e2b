package schema

import "encoding/binary"

// IsPrintable reports whether all of b is printable ASCII, which needs no treatment on a terminal
// or in a line of text.
func IsPrintable(b []byte) bool { return PrintableLength(b) == len(b) }

// PrintableLength returns the length of the prefix of b that is printable ASCII.
func PrintableLength(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// The highest bit of a byte gets set for a byte that is not ASCII, is less than a space, is
		// DEL or is 0x7e. A borrow or a carry into another byte happens only if there is such a
		// byte.
		v := binary.LittleEndian.Uint64(b[i:])
		if (v|(v-0x20*ones)|(v+ones))&highs != 0 {
			break
		}
	}
	for i < len(b) && b[i] >= 0x20 && b[i] < 0x7f {
		i++
	}
	return i
}
