package corpus

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A terminal plays recordings one after the other, in a loop. The seed determines their order, the
// speed of each, and the start of the first. The same seed results in the same bytes at the same
// times.
type terminal struct {
	rng   *rand.Rand
	at    time.Time // time of the last frame
	from  []recording
	order []int // of the next recordings
	left  []recordedEvent
	speed float64 // of the current recording: 2 plays it twice as fast
}

func newTerminal(seed uint64) *terminal { return newTerminalOf(seed, Recordings()) }

func newTerminalOf(seed uint64, from []recording) *terminal {
	rng := rand.New(rand.NewPCG(seed, 0x7474796472616a6e))
	t := &terminal{rng: rng, at: time.Unix(1767225600+rng.Int64N(86400), 0), from: from}
	t.next()
	t.left = t.left[t.rng.IntN(len(t.left)):]
	return t
}

// next starts the next recording.
func (t *terminal) next() {
	if len(t.order) == 0 {
		t.order = t.rng.Perm(len(t.from))
	}
	t.left, t.order = t.from[t.order[0]].events, t.order[1:]
	t.speed = 0.5 + 2.5*t.rng.Float64()
}

// showSize is the approximate number of bytes that a call of show appends.
const showSize = 8 << 10

// show appends the next frames.
func (t *terminal) show(frames []schema.Frame) []schema.Frame {
	for size := 0; size < showSize; {
		if len(t.left) == 0 {
			t.next()
		}
		e := t.left[0]
		t.left = t.left[1:]
		t.at = t.at.Add(time.Duration(float64(e.after) / t.speed))
		frames = append(frames, schema.Frame{Kind: schema.FrameStdout, Time: t.at.UnixNano(), Payload: e.shown})
		size += len(e.shown)
	}
	return frames
}

// WriteText writes at least size bytes of terminal output as the lines of a file: without
// full-screen programs, and without carriage returns before the newlines. It returns the number of
// bytes and lines.
func WriteText(w io.Writer, seed uint64, size int64) (written, lines int64, err error) {
	t := newTerminalOf(seed, lineRecordings())
	var frames []schema.Frame
	for written < size {
		frames = t.show(frames[:0])
		var text []byte
		for _, f := range frames {
			text = append(text, f.Payload...)
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		n, err := w.Write(text)
		written += int64(n)
		lines += int64(bytes.Count(text, []byte("\n")))
		if err != nil {
			return written, lines, fmt.Errorf("write the text: %w", err)
		}
	}
	return written, lines, nil
}

// A LineSource returns terminal output line by line, without full-screen programs.
type LineSource struct {
	terminal *terminal
	frames   []schema.Frame
	shown    []byte
}

// NewLineSource returns a source whose lines depend on the seed.
func NewLineSource(seed uint64) *LineSource {
	return &LineSource{terminal: newTerminalOf(seed, lineRecordings())}
}

// Within returns a random duration of less than d.
func (s *LineSource) Within(d time.Duration) time.Duration {
	return time.Duration(s.terminal.rng.Int64N(int64(d)))
}

// Next returns a line with its newline. It is valid until the next call.
func (s *LineSource) Next() []byte {
	for {
		if i := bytes.IndexByte(s.shown, '\n'); i >= 0 {
			line := s.shown[:i+1]
			s.shown = s.shown[i+1:]
			return line
		}
		s.frames = s.terminal.show(s.frames[:0])
		for _, f := range s.frames {
			s.shown = append(s.shown, f.Payload...)
		}
	}
}
