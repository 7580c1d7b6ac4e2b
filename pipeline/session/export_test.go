package session

import (
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// ChunkAfter is for tests with a real bus, which are in an external package.
var ChunkAfter = following

// FramesOf returns the frames of an operation's chunks in the order of the stream, and their kinds
// as a letter each. It checks that the chunks are consecutive.
func FramesOf(t testing.TB, chunks [][]byte) (frames []schema.Frame, letters string) {
	t.Helper()
	if len(chunks) == 0 {
		return nil, ""
	}
	check := newTape(t, ackAll)
	for _, data := range chunks {
		check.Publish("tty.test", "", data)
		check.first = make(map[string]*attempt) // the stream does not store the IDs
	}
	frames = check.check()
	return frames, kinds(frames)
}
