package corpus

import (
	"bytes"
	"regexp"
)

// Statistics describe all recordings together.
type Statistics struct {
	Recordings int `json:"recordings"`
	Bytes      int `json:"bytes"`
	Lines      int `json:"lines"`
	// BytesPerLine does not count the recordings with full-screen programs, which write no lines.
	BytesPerLine float64 `json:"bytes_per_line"`
	// Escapes is the share of the bytes that belong to escape sequences (ECMA-48).
	Escapes float64 `json:"share_of_escape_sequences"`
}

// escapes matches escape sequences: control sequences, operating system commands, and the short
// ones.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])")

// ComputeStatistics returns the statistics of the recordings.
func ComputeStatistics() (s Statistics) {
	var plain, lines, inEscapes int
	for _, r := range Recordings() {
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
