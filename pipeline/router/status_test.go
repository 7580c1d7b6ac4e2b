package router

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// TestStatusLargeLag holds that only a drain with many unread segments leaves processors to
// others.
func TestStatusLargeLag(t *testing.T) {
	s := newStatus(&target{}, newProof())
	s.read(bus.Message{Sequence: 1, Pending: largeLag - 1}, 1)
	if s.hasLargeLag() {
		t.Errorf("a large lag with %d unread segments", largeLag-1)
	}
	s.read(bus.Message{Sequence: 2, Pending: largeLag}, 1)
	if !s.hasLargeLag() {
		t.Errorf("no large lag with %d unread segments", largeLag)
	}
}
