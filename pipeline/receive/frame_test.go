package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const testMaxMessage = 40

// readFrames reads a stream to its end.
func readFrames(r io.Reader, max int) ([]string, error) {
	f := newFrameReader(r, max)
	var frames []string
	for {
		frame, err := f.next()
		if err != nil {
			return frames, err
		}
		frames = append(frames, string(frame))
	}
}

func TestFrames(t *testing.T) {
	long := "<13>" + strings.Repeat("x", testMaxMessage-4)
	for _, test := range []struct {
		name, stream string
		want         []string
		err          error
	}{
		{"nothing", "", nil, io.EOF},
		{"counted", "5 <1>ab", []string{"<1>ab"}, io.EOF},
		{"counted, two", "5 <1>ab12 <2>cdefghijk", []string{"<1>ab", "<2>cdefghijk"}, io.EOF},
		{"counted, with newlines in it", "6 <1>\nab3 \n\n\n", []string{"<1>\nab", "\n\n\n"}, io.EOF},
		{"counted, that looks like another frame", "5 5 abc4 4 <>", []string{"5 abc", "4 <>"}, io.EOF},
		{"counted, with bytes of any kind", "4 \x00\xff\xfe ", []string{"\x00\xff\xfe "}, io.EOF},
		{"counted, the longest", fmt.Sprintf("%d %s", testMaxMessage, long), []string{long}, io.EOF},
		{"counted, longer", fmt.Sprintf("%d %sx", testMaxMessage+1, long), nil, errTooLong},
		{"counted, far longer", "99999999999999999999999999 x", nil, errTooLong},
		{"counted, no length", "5 <1>ab <2>", []string{"<1>ab"}, errFraming},
		{"counted, then a line", "5 <1>ab<2>cd\n", []string{"<1>ab"}, errFraming},
		{"counted, then a newline", "5 <1>ab\n5 <1>ab", []string{"<1>ab"}, errFraming},
		{"counted, of nothing", "5 <1>ab0 ", []string{"<1>ab"}, errFraming},
		{"counted, leading zero", "5 <1>ab05 <1>ab", []string{"<1>ab"}, errFraming},
		{"counted, no space", "5<1>ab", nil, errFraming},
		{"counted, a tab", "5\t<1>ab", nil, errFraming},
		{"counted, cut in the length", "12", nil, errCutShort},
		{"counted, cut before the message", "12 ", nil, errCutShort},
		{"counted, cut in the message", "5 <1>ab5 <1>", []string{"<1>ab"}, errCutShort},
		{"line", "<1>ab\n", []string{"<1>ab"}, io.EOF},
		{"lines", "<1>ab\n<2>cdefghijk\n", []string{"<1>ab", "<2>cdefghijk"}, io.EOF},
		{"lines, one that looks counted", "<1>ab\n5 <1>ab\n", []string{"<1>ab", "5 <1>ab"}, io.EOF},
		{"lines, the return stays", "<1>ab\r\n", []string{"<1>ab\r"}, io.EOF},
		{"line, the longest", long + "\n", []string{long}, io.EOF},
		{"line, longer", long + "x\n", nil, errTooLong},
		{"line without an end", long + strings.Repeat("x", 10_000), nil, errTooLong},
		{"lines, one empty", "<1>ab\n\n<2>cd\n", []string{"<1>ab"}, errEmpty},
		{"line cut short", "<1>ab\n<2>", []string{"<1>ab"}, errCutShort},
		{"neither", "GET / HTTP/1.1\r\n", nil, errFraming},
		{"a zero", "0 ", nil, errFraming},
		{"a space", " <1>ab\n", nil, errFraming},
		{"a newline", "\n<1>ab\n", nil, errFraming},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := func(how string, r io.Reader) {
				t.Helper()
				got, err := readFrames(r, testMaxMessage)
				if !slices.Equal(got, test.want) || !errors.Is(err, test.err) {
					t.Errorf("%s: %q, %v; want %q, %v", how, got, err, test.want, test.err)
				}
			}
			check("at once", strings.NewReader(test.stream))
			check("byte by byte", iotest.OneByteReader(strings.NewReader(test.stream)))
			check("with the end", iotest.DataErrReader(strings.NewReader(test.stream)))
			if len(test.stream) > 200 {
				return
			}
			for i := range len(test.stream) {
				check(fmt.Sprintf("split at %d", i), io.MultiReader(strings.NewReader(test.stream[:i]), strings.NewReader(test.stream[i:])))
			}
		})
	}
}

func TestFramesBroken(t *testing.T) {
	broken := errors.New("broken")
	for stream, inMessage := range map[string]bool{"": false, "5 <1>ab": false, "5 <1>": true, "1": true, "<1>": true, "<1>a\n": false} {
		_, err := readFrames(io.MultiReader(strings.NewReader(stream), iotest.ErrReader(broken)), testMaxMessage)
		if !errors.Is(err, broken) || errors.Is(err, errCutShort) != inMessage {
			t.Errorf("%q: %v", stream, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{"", "5 <1>ab12 <2>cdefghijk", "<1>ab\n<2>cd\n", "99999999999999999999 x", "1 ", "12 <1>", "<1>", "\n", "05 <1>ab", "<1>\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const max = 1000
		frames, err := readFrames(bytes.NewReader(data), max)
		slow, slowErr := readFrames(iotest.OneByteReader(bytes.NewReader(data)), max)
		if !slices.Equal(frames, slow) || err.Error() != slowErr.Error() {
			t.Fatalf("byte by byte: %q, %v; at once: %q, %v", slow, slowErr, frames, err)
		}
		// The frames are those of the input, in one of the two framings.
		var counted, lines strings.Builder
		for _, frame := range frames {
			if len(frame) == 0 || len(frame) > max {
				t.Fatalf("a message of %d bytes", len(frame))
			}
			fmt.Fprintf(&counted, "%d %s", len(frame), frame)
			lines.WriteString(frame + "\n")
		}
		if !bytes.HasPrefix(data, []byte(counted.String())) && !bytes.HasPrefix(data, []byte(lines.String())) {
			t.Fatalf("%q is not what %q begins with", frames, data)
		}
		if err == io.EOF && len(data) != counted.Len() && len(data) != lines.Len() {
			t.Fatalf("%d bytes were passed over", len(data)-counted.Len())
		}
	})
}
