package main

import (
	"log"
	"log/slog"
	"strings"

	"github.com/ttydrain/ttydrain/schema"
)

// useLog makes the standard logger of package log write to a logger. Libraries use it for events
// that they cannot return as an error: net/http reports an answer that it did not expect with the
// first bytes of it, which can be what a drain was sent.
func useLog(to *slog.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(standardLog{to})
}

// standardLog writes lines of the standard logger to a logger, without what they quote.
type standardLog struct{ log *slog.Logger }

// Write implements [io.Writer].
func (s standardLog) Write(line []byte) (int, error) {
	s.log.Warn("a library reports", "message", withoutQuotes(string(line)))
	return len(line), nil
}

// maxLibraryMessage is the maximum length of a library's message.
const maxLibraryMessage = 160

// withoutQuotes returns a message up to the first quotation, bracket or line break: what
// follows can be content.
func withoutQuotes(message string) string {
	message = strings.TrimSpace(message)
	if i := strings.IndexAny(message, "\"'`[{(<\n"); i >= 0 {
		message = strings.TrimSpace(message[:i]) + " …"
	}
	if len(message) > maxLibraryMessage {
		message = message[:maxLibraryMessage] + "…"
	}
	return strings.Map(func(r rune) rune {
		if schema.IsHidden(r) {
			return '?'
		}
		return r
	}, message)
}
