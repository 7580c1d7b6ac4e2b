package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"regexp"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// recorded are what real programs showed on real terminals (see record), in asciicast v2
// (docs.asciinema.org/manual/asciicast/v2), and the files that they are made with.
//
//go:embed recordings
var recorded embed.FS

// A recording is one of them.
type recording struct {
	name   string
	events []recordedEvent
}

// A recordedEvent is what was shown at one moment.
type recordedEvent struct {
	after time.Duration // the event before, or the beginning
	shown []byte        // nobody may change it
}

// allRecordings are in the order of their names. Nobody may change them.
var allRecordings = sync.OnceValue(func() []recording {
	entries, err := recorded.ReadDir("recordings")
	if err != nil {
		panic("corpus: " + err.Error()) // it is embedded
	}
	var all []recording
	for _, e := range entries {
		if path.Ext(e.Name()) != ".cast" {
			continue
		}
		data, err := recorded.ReadFile("recordings/" + e.Name())
		if err != nil {
			panic("corpus: " + err.Error())
		}
		r, err := readCast(data)
		if err != nil {
			panic("corpus: " + e.Name() + ": " + err.Error()) // a test reads them all
		}
		r.name = e.Name()
		all = append(all, r)
	}
	return all
})

// readCast reads the output of an asciicast v2.
func readCast(data []byte) (r recording, err error) {
	header, rest, _ := bytes.Cut(data, []byte("\n"))
	var h struct{ Version, Width, Height int }
	if err := json.Unmarshal(header, &h); err != nil || h.Version != 2 {
		return r, fmt.Errorf("it does not begin with the header of an asciicast v2: %v", err)
	}
	if h.Width != recordedWidth || h.Height != recordedHeight {
		return r, fmt.Errorf("its terminal has %d columns and %d rows, expected %d and %d", h.Width, h.Height, recordedWidth, recordedHeight)
	}
	var before time.Duration
	for line := range bytes.Lines(rest) {
		var (
			at         float64
			kind, text string
		)
		if err := json.Unmarshal(line, &[3]any{&at, &kind, &text}); err != nil {
			return r, fmt.Errorf("event %d: %w", len(r.events)+1, err)
		}
		if kind != "o" || text == "" {
			continue
		}
		now := time.Duration(at * float64(time.Second))
		r.events = append(r.events, recordedEvent{now - before, []byte(text)})
		before = now
	}
	if len(r.events) == 0 {
		return r, fmt.Errorf("it shows nothing")
	}
	return r, nil
}

// fullScreen says whether a program took the whole screen (xterm's alternate screen).
func (r recording) fullScreen() bool {
	for _, e := range r.events {
		if bytes.Contains(e.shown, []byte("\x1b[?1049h")) {
			return true
		}
	}
	return false
}

// lineRecordings are those of programs that write lines, none of which is longer than a record is.
func lineRecordings() (all []recording) {
	for _, r := range allRecordings() {
		if !r.fullScreen() {
			all = append(all, r)
		}
	}
	return all
}

// A terminal shows recordings, one after the other and all over again. The seed decides their
// order, how fast each is, and where the first one begins. The same seed gives the same bytes at
// the same times.
type terminal struct {
	rng   *rand.Rand
	at    time.Time // of the last frame
	from  []recording
	order []int // of those to come
	left  []recordedEvent
	speed float64 // of the current one: 2 is twice as fast as it was recorded
}

func newTerminal(seed uint64) *terminal { return newTerminalOf(seed, allRecordings()) }

func newTerminalOf(seed uint64, from []recording) *terminal {
	rng := rand.New(rand.NewPCG(seed, 0x7474796472616a6e))
	t := &terminal{rng: rng, at: time.Unix(1767225600+rng.Int64N(86400), 0), from: from}
	t.next()
	t.left = t.left[t.rng.IntN(len(t.left)):]
	return t
}

// next begins another recording.
func (t *terminal) next() {
	if len(t.order) == 0 {
		t.order = t.rng.Perm(len(t.from))
	}
	t.left, t.order = t.from[t.order[0]].events, t.order[1:]
	t.speed = 0.5 + 2.5*t.rng.Float64()
}

// showSize is about how many bytes a call of show gives.
const showSize = 8 << 10

// show appends what is shown next.
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

// writeText writes terminal output of at least size bytes, as the lines of a file: of programs that
// write lines, and without carriage returns before the newlines. It gives the number of bytes and
// lines.
func writeText(w io.Writer, seed uint64, size int64) (written, lines int64, err error) {
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

// corpusStatistics are of all recordings together.
type corpusStatistics struct {
	Recordings int `json:"recordings"`
	Bytes      int `json:"bytes"`
	Lines      int `json:"lines"`
	// BytesPerLine is without those of programs that take the whole screen, which write no lines.
	BytesPerLine float64 `json:"bytes_per_line"`
	// Escapes is the share of the bytes that are in escape sequences (ECMA-48).
	Escapes float64 `json:"share_of_escape_sequences"`
}

// escapes are escape sequences: control sequences, operating system commands, and the short ones.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])")

func statistics() (s corpusStatistics) {
	var plain, lines, inEscapes int
	for _, r := range allRecordings() {
		var all []byte
		for _, e := range r.events {
			all = append(all, e.shown...)
		}
		n := bytes.Count(all, []byte("\n"))
		s.Recordings++
		s.Bytes += len(all)
		s.Lines += n
		if !r.fullScreen() {
			plain += len(all)
			lines += n
		}
		for _, found := range escapes.FindAll(all, -1) {
			inEscapes += len(found)
		}
	}
	s.BytesPerLine, s.Escapes = float64(plain)/float64(lines), float64(inEscapes)/float64(s.Bytes)
	return s
}

func (s corpusStatistics) String() string {
	return fmt.Sprintf("%d recordings of %s bytes and %s lines; %.0f bytes a line where programs write lines; %.1f %% of the bytes are in escape sequences",
		s.Recordings, thousands(float64(s.Bytes)), thousands(float64(s.Lines)), s.BytesPerLine, 100*s.Escapes)
}
