package schema

import (
	"bytes"
	"testing"
)

func TestPrintable(t *testing.T) {
	for c := range 256 {
		for n := range 40 {
			for at := range n {
				line := bytes.Repeat([]byte{' ', '~'}, 20)[:n]
				line[at] = byte(c)
				want := n
				if c < 0x20 || c >= 0x7f {
					want = at
				}
				if got := PrintableLength(line); got != want {
					t.Fatalf("%q: %d, expected %d", line, got, want)
				}
				if got := IsPrintable(line); got != (want == n) {
					t.Fatalf("%q is printable: %v", line, got)
				}
				line[n-1] = 0x7f // followed by another one
				if got := PrintableLength(line); got != min(want, n-1) {
					t.Fatalf("%q: %d, expected %d", line, got, min(want, n-1))
				}
			}
		}
	}
}
