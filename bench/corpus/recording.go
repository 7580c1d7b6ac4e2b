package corpus

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"sync"
	"time"
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
var Recordings = sync.OnceValue(func() []recording {
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
	for _, r := range Recordings() {
		if !r.fullScreen() {
			all = append(all, r)
		}
	}
	return all
}

// The terminal of every recording.
const (
	recordedWidth  = 120
	recordedHeight = 40
)
