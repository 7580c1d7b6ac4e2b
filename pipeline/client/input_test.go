package client

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestTypedInput: the end of the input becomes Ctrl-D, twice within a line.
func TestTypedInput(t *testing.T) {
	for _, test := range []struct{ input, want string }{
		{"", "\x04"},
		{"ls\n", "ls\n\x04"},
		{"ls\r", "ls\r\x04"},
		{"ls\necho in", "ls\necho in\x04\x04"},
	} {
		for _, from := range []io.Reader{strings.NewReader(test.input), iotest.OneByteReader(strings.NewReader(test.input)), iotest.DataErrReader(strings.NewReader(test.input))} {
			got, err := io.ReadAll(iotest.OneByteReader(NewTypedInput(from)))
			if err != nil || string(got) != test.want {
				t.Errorf("%q: typed %q, %v, want %q", test.input, got, err, test.want)
			}
		}
	}
	if _, err := io.ReadAll(NewTypedInput(iotest.ErrReader(io.ErrClosedPipe))); err != io.ErrClosedPipe {
		t.Errorf("a broken input: %v", err)
	}
}
