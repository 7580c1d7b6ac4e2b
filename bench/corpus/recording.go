package corpus

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"
)

// recorded holds the output of real programs on real terminals (see [Record]), in asciicast v2
// (docs.asciinema.org/manual/asciicast/v2), and the files that Record needs.
//
//go:embed recordings
var recorded embed.FS

// A recording is the output of one session.
type recording struct {
	name   string
	events []recordedEvent
}

// A recordedEvent is the output of one moment.
type recordedEvent struct {
	after time.Duration // since the event before, or the start
	shown []byte        // read-only
}

// Recordings returns all recordings, ordered by name. They are read-only.
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
			panic("corpus: " + e.Name() + ": " + err.Error()) // a test parses all of them
		}
		r.name = e.Name()
		all = append(all, r)
	}
	return all
})

// readCast parses the output events of an asciicast v2.
func readCast(data []byte) (r recording, err error) {
	header, rest, _ := bytes.Cut(data, []byte("\n"))
	var h struct{ Version, Width, Height int }
	if err := json.Unmarshal(header, &h); err != nil || h.Version != 2 {
		return r, fmt.Errorf("no header of an asciicast v2: %v", err)
	}
	if h.Width != recordedWidth || h.Height != recordedHeight {
		return r, fmt.Errorf("the terminal has %d columns and %d rows, expected %d and %d", h.Width, h.Height, recordedWidth, recordedHeight)
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
		return r, errors.New("no output")
	}
	return r, nil
}

// fullScreen reports whether a program used the whole screen (xterm's alternate screen).
func (r recording) fullScreen() bool {
	for _, e := range r.events {
		if bytes.Contains(e.shown, []byte("\x1b[?1049h")) {
			return true
		}
	}
	return false
}

// lineRecordings returns the recordings without full-screen programs. None of their lines is longer
// than a record.
func lineRecordings() (all []recording) {
	for _, r := range Recordings() {
		if !r.fullScreen() {
			all = append(all, r)
		}
	}
	return all
}

// The size of the terminal of every recording.
const (
	recordedWidth  = 120
	recordedHeight = 40
)
