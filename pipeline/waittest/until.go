// Package waittest waits in tests for what nothing announces, such as the end of another process.
package waittest

import (
	"context"
	"testing"
	"time"
)

const (
	interval = 5 * time.Millisecond // between two looks
	patience = 2 * time.Minute      // after which the test hangs
)

// Until waits until done returns true. The test fails after two minutes, with a message about what
// did not happen.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("it did not happen: " + what)
		}
	}
}
