package schema

import "encoding/binary"

// IsPrintable says whether all of b is printable ASCII: on a terminal, and in a line of text, such
// bytes stand for themselves.
func IsPrintable(b []byte) bool { return PrintableLength(b) == len(b) }

// PrintableLength is how many bytes at the start of b are printable ASCII.
func PrintableLength(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// The highest bit of a byte is set by what is no ASCII, by less than a space, and by DEL and one.
		// Only where there is such a byte another one is borrowed from or carried to.
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
