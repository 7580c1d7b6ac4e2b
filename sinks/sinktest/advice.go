package sinktest

import (
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
)

// verbs are the words that an advice may begin with.
var verbs = []string{"add", "allow", "compare", "correct", "create", "free", "give", "install", "look", "lower", "open", "permit", "raise",
	"remove", "renew", "replace", "see", "set", "shorten", "start", "try", "use"}

// CheckAdvice fails the test unless the error has a reason, and advice that begins with a verb.
func CheckAdvice(t testing.TB, e *sinks.Error) {
	t.Helper()
	verb, _, _ := strings.Cut(e.Advice, " ")
	if e.Reason == "" || !slices.Contains(verbs, verb) {
		t.Errorf("an error lacks its reason or its advice: %q, %q", e.Reason, e.Advice)
	}
}
