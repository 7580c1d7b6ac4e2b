package sinktest

import (
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
)

// verbs are the words with which an error may begin to say what to do.
var verbs = []string{"add", "allow", "compare", "correct", "create", "free", "give", "install", "look", "lower", "open", "permit", "raise",
	"remove", "renew", "replace", "see", "set", "shorten", "start", "try", "use"}

// CheckAdvice fails the test unless the error says what happened and, after that, what to do next.
func CheckAdvice(t testing.TB, e *sinks.Error) {
	t.Helper()
	what, do := e.Advice()
	verb, _, _ := strings.Cut(do, " ")
	if what == "" || !slices.Contains(verbs, verb) {
		t.Errorf("an error does not say what to do next: %q", e.Reason)
	}
}
