package router

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// TestStatusFarBehind holds that only a drain with many unread segments leaves processors to
// others.
func TestStatusFarBehind(t *testing.T) {
	s := newStatus(&target{})
	s.read(bus.Message{Sequence: 1, Pending: farBehind - 1}, 1)
	if s.farBehind() {
		t.Errorf("far behind with %d unread segments", farBehind-1)
	}
	s.read(bus.Message{Sequence: 2, Pending: farBehind}, 1)
	if !s.farBehind() {
		t.Errorf("not far behind with %d unread segments", farBehind)
	}
}
